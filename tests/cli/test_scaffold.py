"""`ditbench new`: every kind of package installs, passes its own tests and runs as it stands."""

import json
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml
from environments import make_environment, pip, quiet
from packaging.requirements import Requirement

from ditbench.cli.scaffold.names import KINDS
from ditbench.cli.scaffold.packages import create
from ditbench.errors import BadFile, BadValue
from ditbench.registry import Registry
from ditbench.tracks.track import load_track

ROOT = Path(__file__).parents[2]
TRACKED = [kind for kind in KINDS if kind != "architecture"]
RUN_ALL = """
import json
from pathlib import Path
import ditbench
from ditbench.records.validation.files import validate
from ditbench.registry import Registry

if __name__ == "__main__":
    least = {"budget": "2-steps", "samples": 20}
    records = ditbench.run(architectures=["my_architecture"], **least)
    for kind in KINDS:
        records += ditbench.run(track=f"my_{kind}", architectures=["dit"], **least)
    for one in validate([Path("runs")], Registry.installed()):
        assert not one.faults, one.lines
    print(json.dumps({r.track.name: [r.status, *(m.protocol for m in r.metrics)] for r in records}))
"""


@pytest.fixture
def registry():
    return Registry.installed()


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    """A package of every kind: the folder they are in, and the python of an environment where they are installed."""
    folder, registry = tmp_path_factory.mktemp("packages"), Registry.installed()
    for kind in KINDS:
        create(f"my-{kind}", kind, folder, registry)
    python = make_environment(folder / "env")
    pip(python, "install", *(part for kind in KINDS for part in ("-e", f"./my-{kind}")), cwd=folder)
    return folder, python


def test_each_registers_what_it_says(packages):
    folder, python = packages
    rows = json.loads(quiet(python, "-m", "ditbench", "plugins", "doctor", "--json", cwd=folder))["plugins"]
    provided = {row["plugin"]: (row["state"], set(row["provides"])) for row in rows}
    for kind in KINDS:
        state, provides = provided[f"my_{kind}"]
        assert state == "ok" and f"{kind} my_{kind}" in provides
        assert (f"track my_{kind}" in provides) == (kind in TRACKED)


@pytest.mark.slow
def test_their_own_tests_pass(packages):
    folder, python = packages
    flags = ("-q", "-p", "no:cacheprovider", "--import-mode=importlib", "-W", "error")
    found = quiet(python, "-m", "pytest", *flags, *(f"my-{kind}" for kind in KINDS), cwd=folder)
    assert " passed" in found and "skipped" not in found


@pytest.mark.parametrize("kinds", [["metric"], pytest.param(TRACKED, marks=pytest.mark.slow)], ids=["two", "all"])
def test_each_runs(packages, kinds):
    folder, python = packages
    (folder / "run_all.py").write_text(RUN_ALL.replace("KINDS", repr(kinds)))
    found = json.loads(quiet(python, "run_all.py", cwd=folder).splitlines()[-1])
    assert found.keys() == {"digits", *(f"my_{kind}" for kind in kinds)}
    assert {status for status, *_ in found.values()} == {"finished"}
    assert "my_metric20/digits-cnn" in found["my_metric"]
    assert "dataset" not in kinds or "fid20/efficientnet-lite0" in found["my_dataset"]


# faster: of the small sizes
LARGE = pytest.param(["S/2"], marks=pytest.mark.slow)


@pytest.mark.parametrize("sizes", [["nano", "nano/4"], LARGE], ids=["small", "large"])
def test_the_architecture_costs_what_its_classes_cost(packages, sizes):
    folder, python = packages
    named = ",".join(f"{name}:{size}" for name in ("my_architecture", "dit") for size in sizes)
    listed = quiet(python, "-m", "ditbench", "sizes", named, "--json", cwd=folder)
    macs = {row["size"]: row["macs_per_image"] for row in json.loads(listed)}
    for size in sizes:
        assert macs[f"my_architecture:{size}"] == pytest.approx(macs[f"dit:{size}"], rel=0.02)


@pytest.mark.parametrize("kind", KINDS)
def test_the_name_is_everywhere(kind, tmp_path, registry):
    files = create("a-better_one", kind, tmp_path, registry)
    assert sorted(files) == files and all((tmp_path / "a-better_one" / file).is_file() for file in files)
    for file in files:
        text = (tmp_path / "a-better_one" / file).read_text()
        assert "my_plugin" not in text and "my-plugin" not in text and "my_plugin" not in str(file)
    project = tomllib.loads((tmp_path / "a-better_one" / "pyproject.toml").read_text())["project"]
    assert project["name"] == "ditbench-a-better-one"
    assert project["entry-points"]["ditbench"] == {"a_better_one": "ditbench_a_better_one"}


def test_it_asks_for_this_ditbench(tmp_path, registry):
    create("mine", "track", tmp_path, registry)
    (asked,) = tomllib.loads((tmp_path / "mine" / "pyproject.toml").read_text())["project"]["dependencies"]
    minor = ".".join(version("ditbench").split(".")[:2])
    assert asked == f"ditbench[run]>={minor}" and Requirement(asked).specifier.contains(version("ditbench"))


@pytest.mark.parametrize("kind", TRACKED)
def test_a_track_is_the_digits_track_but_for_what_its_template_says(kind, tmp_path, registry):
    create("mine", kind, tmp_path, registry)
    mine = load_track(tmp_path / "mine" / "ditbench_mine" / "mine.toml").model_dump()
    digits = load_track(registry.tracks["digits"]).model_dump()
    changed = {key for key in digits if mine.get(key) != digits[key]} - {"name", "version", "description", "seeds"}
    tables = {
        "dataset": {"size", "data", "evaluation"},
        "objective": {"objective", "sampler"},
        "sampler": {"sampler"},
        "metric": {"evaluation"},
        "track": {"objective", "sampler"},
    }
    assert changed == tables[kind]


def test_settings_of_a_folder_around_it_are_not_its_own(tmp_path, registry):
    """As in a clone of ditbench, whose pytest has plugins that others may not have."""
    (tmp_path / "pyproject.toml").write_text('[tool.pytest.ini_options]\naddopts = "--no-such-option"\n')
    create("mine", "track", tmp_path, registry)
    (tmp_path / "mine" / "tests" / "test_mine.py").write_text("def test_one():\n    pass\n")  # no libraries to load
    found = quiet(Path(sys.executable), "-m", "pytest", "-q", "-p", "no:cacheprovider", "mine", cwd=tmp_path)
    assert "1 passed" in found


def test_the_network_is_short(tmp_path, registry):
    create("mine", "architecture", tmp_path, registry)
    source = (tmp_path / "mine" / "ditbench_mine" / "model.py").read_text()
    assert 40 < len(source.splitlines()) <= 70


@pytest.mark.parametrize("kind", KINDS)
def test_its_workflows_use_the_action_and_may_only_read(kind, tmp_path, registry):
    create("mine", kind, tmp_path, registry)
    inputs = yaml.safe_load((ROOT / "action.yml").read_text())["inputs"]
    ours = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
    steps = []
    for path in (tmp_path / "mine" / ".github" / "workflows").iterdir():
        workflow = yaml.safe_load(path.read_text())
        assert workflow["permissions"] == {}
        assert all(job["permissions"] == {"contents": "read"} for job in workflow["jobs"].values())
        steps += [step for job in workflow["jobs"].values() for step in job["steps"]]
    checkouts = [step for step in steps if step.get("uses", "").startswith("actions/checkout@")]
    assert len(checkouts) == 2 and all(step["uses"] in ours for step in checkouts)
    (action,) = [step for step in steps if step.get("uses") == "OWNER/ditbench@COMMIT"]
    assert action["with"].keys() <= inputs.keys()
    assert action["with"]["architectures" if kind == "architecture" else "track"] == "mine"


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("My_Arch", "'my-arch' would do"),
        ("4d", "'d' would do"),
        ("a--b", "'a-b' would do"),
        ("../up", "'up' would do"),
        ("/etc", "'etc' would do"),
        ("ünï", "'n' would do"),
        ("", "can't name a plugin, .*: use up to 40"),
        ("x" * 41, "x' would do"),
        ("ditbench-mine", "'mine' would do"),
        ("DiT", "Windows reserves.$"),  # 'dit' is taken, so it is no way out
        ("con", "can't name a plugin"),
        ("mdt", "Plugin 'mdt' is installed already|Architecture 'mdt' is installed already"),
        ("dit", "Architecture 'dit' is installed already"),
        ("digits", "Dataset 'digits' is installed already"),
        ("builtins", "Plugin 'builtins' is installed already"),
    ],
)
def test_names_are_checked(name, says, tmp_path, registry):
    with pytest.raises(BadValue, match=says):
        create(name, "architecture", tmp_path, registry)
    assert not list(tmp_path.iterdir())


def test_what_is_installed_has_its_name_loaded_or_not(install, tmp_path, monkeypatch):
    install("ditbench-zebra", "stripes", "raise RuntimeError", entry="stripes")
    monkeypatch.setenv("DITBENCH_PLUGINS", "dit")
    registry = Registry.installed()
    for name, holder in (
        ("zebra", "Package 'ditbench-zebra'"),
        ("stripes", "Plugin 'stripes'"),
        ("mdt", "Plugin 'mdt'"),
    ):
        with pytest.raises(BadValue, match=f"{holder} is installed already"):
            create(name, "architecture", tmp_path / "here", registry)


@pytest.mark.parametrize("what", ["folder", "file", "dangling link"])
def test_nothing_is_overwritten(what, tmp_path, registry):
    target = tmp_path / "mine"
    if what == "folder":
        target.mkdir()
    elif what == "file":
        target.write_text("precious")
    else:
        target.symlink_to("nowhere")
    with pytest.raises(BadFile, match="is there already, and nothing is overwritten"):
        create("mine", "architecture", tmp_path, registry)
    assert list(tmp_path.iterdir()) == [target] and not (target.is_dir() and list(target.iterdir()))
    assert not target.is_file() or target.read_text() == "precious"


@pytest.mark.parametrize("at", ["write_text", "rename"])
def test_it_is_whole_or_absent(tmp_path, registry, monkeypatch, at):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, at, interrupted)
    with pytest.raises(KeyboardInterrupt):
        create("mine", "architecture", tmp_path, registry)
    assert not list(tmp_path.iterdir())


def test_where_nothing_can_be_written(tmp_path, registry):
    (tmp_path / "file").touch()
    with pytest.raises(BadFile, match="can't be written: Not a directory"):
        create("mine", "architecture", tmp_path / "file", registry)


def test_the_command(ditbench, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = ditbench("new", "my-thing")
    assert "my-thing/ditbench_my_thing/model.py" in said.splitlines()
    assert "ditbench run --plugins my_thing --budget smoke" in said
    assert "'my-thing' is there already" in ditbench("new", "my-thing", code=2)
    assert "--track my_other --plugins dit --budget smoke" in ditbench("new", "my-other", "--kind", "metric")
    assert "optimizer" in ditbench("new", "more", "--kind", "optimizer", code=2)
