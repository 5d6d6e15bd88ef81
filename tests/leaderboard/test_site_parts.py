"""What the site is made with: its folder, pictures, plots, commands, scripts and colours."""

import inspect
import json
import re
import shlex
import tomllib
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest
from records import ENVIRONMENT, finished, raw_weights
from site_pages import Page, content
from site_records import A100, CLIPS, H100, HOSTILE, alone, conference, hostile, run, with_pictures

from ditbench import campaign
from ditbench.errors import BadFile, BadValue
from ditbench.leaderboard.boards import boards
from ditbench.leaderboard.learning_curves import row_course
from ditbench.leaderboard.site import assets, plots
from ditbench.leaderboard.site.contents import Contents
from ditbench.leaderboard.site.folder import MANIFEST, write_files
from ditbench.leaderboard.site.pages import write_site
from ditbench.leaderboard.site.reproduction import EXAMPLES, SHIPPED, reproduction
from ditbench.records.files import GRID_FILE
from ditbench.records.record import identity
from ditbench.records.validation.png import still
from ditbench.registry import Registry
from ditbench.tracks.plan import make_plan


@pytest.fixture(scope="module")
def records():
    return conference()


# the folder


def test_pages_of_runs_that_are_gone_go_and_others_files_stay(tmp_path):
    one, other = run("dit:nano", 0, 1.0), run("uvit:nano", 0, 2.0)
    write_site(boards([one, other]), tmp_path, samples=None)
    mine = tmp_path / "runs" / "notes.html"
    mine.write_text("mine")
    write_site(boards([one]), tmp_path, samples=None)
    left = {path.name for path in (tmp_path / "runs").iterdir()}
    assert left == {f"{one.run_id}.html", f"{one.run_id}.js", f"{one.run_id}.json.gz", "notes.html"}
    assert not (tmp_path / "architectures" / "uvit-ditbench-uvit.html").exists()


def test_somebody_elses_page_is_not_overwritten(tmp_path):
    (tmp_path / "index.html").write_text("mine")
    with pytest.raises(BadValue, match=r"'index\.html' that is not of a site of ours"):
        write_site([], tmp_path, samples=None)
    assert content(tmp_path) == {"index.html": b"mine"}


@pytest.mark.parametrize(
    "listed",
    ['["../other"]', '["/etc/passwd"]', '["a/../../b"]', '["."]', '["a\\u0000b"]', '["\\ud800"]', "{}", "[1]",
     "no JSON", json.dumps(["a" * 5000])],
)  # fmt: skip
def test_a_list_of_files_that_leads_out_of_the_folder_is_refused(tmp_path, listed):
    (tmp_path / MANIFEST).write_text(listed)
    with pytest.raises(BadFile, match="is no list of a site's files"):
        write_files({}, tmp_path)


@pytest.mark.parametrize(
    ("listed", "told"),
    [
        ("l/thesis.tex", "site/l' is a link, where a site has a folder"),
        ("a/l/thesis.tex", "site/a/l' is a link, where a site has a folder"),
        ("a/t.html", "site/a/t.html' is a link, where a site has a file"),
        ("runs", "site/runs' is a folder, where a site has a file"),
        ("notes/a.html", "site/notes' is a file, where a site has a folder"),
    ],
)
@pytest.mark.parametrize("again", [False, True])
def test_a_list_that_came_with_links_or_names_a_folder_removes_and_writes_nothing(tmp_path, listed, told, again):
    mine, site = tmp_path / "mine", tmp_path / "site"
    for folder in (mine, site / "a", site / "runs"):
        folder.mkdir(parents=True)
    (mine / "thesis.tex").write_text("mine")
    (site / "notes").write_text("")
    for link, to in (("l", mine), ("a/l", mine), ("a/t.html", mine / "thesis.tex")):
        (site / link).symlink_to(to)
    (site / MANIFEST).write_text(json.dumps([listed]))
    before = content(tmp_path)
    with pytest.raises(BadFile, match=re.escape(told)):
        write_files({listed: lambda: "a"} if again else {"b.html": lambda: "b"}, site)
    assert content(tmp_path) == before


def test_a_site_or_a_list_of_its_files_that_is_a_link_is_refused(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "site").symlink_to(tmp_path / "mine")
    with pytest.raises(BadFile, match="site' is a link, where a site has a folder"):
        write_files({"a.html": lambda: "a"}, tmp_path / "site")
    (tmp_path / "mine" / MANIFEST).symlink_to(tmp_path / "list")
    with pytest.raises(BadFile, match=r"ditbench-site\.json' is a link, where a site has a file"):
        write_files({"a.html": lambda: "a"}, tmp_path / "mine")
    assert not content(tmp_path)


def test_a_build_that_was_stopped_leaves_nothing_without_an_owner(tmp_path):
    def stop():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_files({"a.html": lambda: "a", "b.html": stop}, tmp_path)
    write_files({"c.html": lambda: "c"}, tmp_path)
    assert set(content(tmp_path)) == {"c.html", MANIFEST}


# pictures


def test_only_the_picture_that_the_record_vouches_for_is_shown(tmp_path):
    samples = tmp_path / "samples"
    good, false, older = with_pictures([run(f"{name}:nano", 0, 1.0) for name in ("dit", "mdt", "uvit")], samples)
    false = false.model_copy(update={"files": {GRID_FILE: "0" * 64}})
    older = older.model_copy(update={"files": {}})
    no_png = run("diffit:nano", 0, 1.0)
    (samples / "digits" / f"{no_png.run_id}.png").write_text("<script>")
    write_site(boards([good, false, older, no_png]), tmp_path / "site", samples=samples)
    page = Page(tmp_path / "site" / "tracks" / "digits.html")
    assert page.all("img", "alt") == ["Samples of dit:nano, seed 0", "Samples of uvit:nano, seed 0"]
    assert page.text.count("unverified: the record has no hash of this picture") == 1


def test_clips_move_and_lie_there_without_their_frames_too(tmp_path):
    """A board of images shows none that moves."""
    samples, site = tmp_path / "samples", tmp_path / "site"
    clips, images = with_pictures([run("dit:nano", 0, 1.0, on=CLIPS), run("uvit:nano", 0, 1.0)], samples)
    moving = (samples / "clips" / f"{clips.run_id}.png").read_bytes()
    (samples / "digits" / f"{images.run_id}.png").write_bytes(moving)
    write_site(boards([clips, images.model_copy(update={"files": {}})]), site, samples=samples)
    assert not Page(site / "tracks" / "digits.html").all("img", "alt")
    for page in (Page(site / "tracks" / "clips.html"), Page(site / "runs" / f"{clips.run_id}.html")):
        playing, held = (page.path.parent / link for link in page.all("img", "src"))
        assert playing.read_bytes() == moving and held.read_bytes() == still(moving)
        words = "Samples of dit:nano, seed 0: "
        assert page.all("img", "alt") == [f"{words}clips that play", f"{words}a clip in each row, frame by frame"]
        assert page.all("img", "loading") == ["lazy", "lazy"]


# plots


def test_learning_curves_are_means_with_intervals(records):
    board = boards(records)[0]
    chart = plots.learning(Contents([board]), board)
    row, series = board.rows[0], chart["series"][0]
    points = row_course(row, "fid1k/digits-cnn")
    assert len(points) == 4 and series["x"]["images"] == [16000, 32000, 48000, 64000]
    assert series["y"]["m0"] == pytest.approx([point.quality.mean for point in points], rel=1e-4)
    assert series["dy"]["m0"] == pytest.approx([point.quality.half_width for point in points], rel=1e-2)
    assert [axis["key"] for axis in chart["x"]] == ["images", "seconds0", "flops"] and chart["y"][0]["target"] == 2


def test_two_classes_of_hardware_never_share_a_front(records):
    board = next(board for board in alone(records) if len(board.hardware) > 1)
    chart = plots.pareto(Contents([board]), board)
    for place, hardware in enumerate([A100.gpu, H100.gpu]):
        key = f"training_images_per_second{place}"
        drawn = [at for at, series in enumerate(chart["series"]) if key in series["x"]]
        assert [board.rows[at].hardware for at in drawn] == [hardware] * len(drawn) and drawn
        assert set(chart["fronts"][f"{key} m0"]) <= set(drawn)
        assert hardware in next(axis["label"] for axis in chart["x"] if axis["key"] == key)


@pytest.mark.parametrize(
    ("higher_x", "higher_y", "expected"), [(False, False, [0, 3]), (True, False, [2, 3]), (False, True, [0, 1, 2])]
)
def test_a_front_has_what_nothing_beats_in_both(higher_x, higher_y, expected):
    points = [(1.0, 2.0), (2.0, 3.0), (4.0, 4.0), (3.0, 1.0), (None, 0.0)]
    assert plots.front(points, higher_x, higher_y) == expected


def test_step_times_are_counted_without_the_slowest_hundredth():
    record = run("dit:nano", 0, 1.0)
    times = [0.001 * (1 + at / 100) for at in range(100)] + [9.0]
    record = record.model_copy(update={"training": record.training.model_copy(update={"step_seconds": times})})
    contents = Contents(boards([record]))
    (series,) = plots.step_times(contents, contents.runs[0])["series"]
    assert sum(series["y"]["steps"]) == 100 and max(series["x"]["ms"]) < 2


def test_an_architecture_looks_the_same_on_every_plot(records):
    found = boards(records)
    contents = Contents(found)
    styles = {}
    for board in found:
        for series in plots.pareto(contents, board)["series"]:
            styles.setdefault(series["name"].partition(":")[0], set()).add(series["style"])
    assert all(len(seen) == 1 for seen in styles.values()) and len(set.union(*styles.values())) == len(styles)


def test_a_cost_is_drawn_from_its_least_to_its_most_and_the_one_that_sets_rows_apart_comes_first(records):
    board = alone(records)[0]
    chart = plots.pareto(Contents([board]), board)
    assert chart["x"][0]["key"] == "training_images_per_second0"  # 690 to 1,900; of MACs 5.1 to 8.4
    small, large = (run("dit:nano", seed, 1.0, macs=0.0, rate=rate) for seed, rate in enumerate((4000.0, 8000.0)))
    (board,) = boards([small, large])
    (series,) = plots.pareto(Contents([board]), board)["series"]
    key = "peak_memory_bytes0"  # 600 MiB, and one more for 40 images a second
    assert (series["range"][key], series["x"][key]) == ([700, 800], [750])


def test_a_loss_curve_is_thinned_for_its_plot_and_keeps_its_ends():
    record = run("dit:nano", 0, 1.0, curve=500)
    contents = Contents(boards([record]))
    (series,) = plots.losses(contents, contents.boards[0], contents.runs)["series"]
    images, curve = series["x"]["images"], record.training.curve
    assert len(images) == len(series["y"]["loss"]) == 40
    assert (images[0], images[-1]) == (curve[0].images, curve[-1].images)


def test_numbers_of_plots_are_short():
    assert plots.compact(0.123456789) == 0.12346 and plots.compact(64000.0) == 64000
    assert json.dumps(plots.compact(2.0)) == "2"


# the command


@pytest.mark.parametrize(
    "asked",
    [
        {"architectures": ["dit"], "seeds": [3]},
        {"architectures": ["dit:nano+conditioning=in-context"], "budget": "90s", "eval_at": [1 / 3, 0.5]},
        {"architectures": ["uvit"], "ruleset": "native", "device": "cuda:1", "raw_weights": True},
        {"architectures": ["dit"], "micro_batch": 16, "checkpointing": True, "compile": "blocks"},
        {"architectures": ["mdt"], "samples": 200},
        {"architectures": ["dit"], "parametrization": "mup"},
        {"architectures": ["mdt"], "features": "inception-v3-compat"},
        {"architectures": ["mdt"], "samples": 200, "of": "mine"},
        {"architectures": ["mdt"], "features": "inception-v3-compat", "of": "mine"},
    ],
)
def test_the_command_on_a_page_is_that_run(ditbench, monkeypatch, tmp_path, asked):
    registry, places = Registry.installed(), {"digits": "digits", "mine": str(tmp_path / "mine.toml")}
    digits = registry.tracks["digits"].read_text(encoding="utf-8")
    Path(places["mine"]).write_text(digits.replace('name = "digits"', 'name = "mine"'), encoding="utf-8")
    (config,) = make_plan(registry, places[asked.get("of", "digits")], **{k: v for k, v in asked.items() if k != "of"})
    facts = identity(config)
    on_the_way = [{**run("dit:nano", 0, 1.0).milestones[0].model_dump(), "at": at} for at in config.eval_at]
    milestones = [run("dit:nano", 0, 1.0).milestones[0].model_copy(update=facts) for facts in on_the_way]
    raw = raw_weights(1.0) if config.raw_weights else None
    record = finished().model_copy(update={**facts, "milestones": milestones, "raw": raw})
    typed = {}

    def take(track, architectures, seeds, **options):
        typed.update(options, track=places[track], architectures=architectures, seeds=seeds)
        raise SystemExit(0)

    monkeypatch.setattr(campaign, "run", take)
    ditbench(*shlex.split(reproduction(record).lines[-1])[3:])  # behind: uv run ditbench
    known = inspect.signature(make_plan).parameters
    (again,) = make_plan(registry, **{name: value for name, value in typed.items() if name in known})
    assert again.run_id == config.run_id and again.eval_at == config.eval_at
    assert again.raw_weights == config.raw_weights and again.recipe == config.recipe
    assert again.deviations == config.deviations


def test_words_that_a_shell_should_not_see_make_no_command():
    record = hostile()
    checkout, run = reproduction(record).lines  # and no line that installs a distribution of such a name
    assert re.fullmatch(r"git checkout [0-9a-f]+ && uv sync", checkout)
    assert shlex.split(run)[6:8] == ["--plugins", HOSTILE]
    control = record.model_copy(update={"budget": "1s\x1b[201~"})
    assert reproduction(control).lines == ()
    lost = finished(environment=ENVIRONMENT.model_copy(update={"git_commit": None}))
    (line,) = reproduction(lost).lines
    assert line.startswith("ditbench run ")


def test_what_is_installed_is_the_records_commit_and_a_plugin_that_is_not_part_of_it():
    again = reproduction(finished())
    checkout = f"git checkout {ENVIRONMENT.git_commit} && uv sync"
    assert again.lines[:-1] == (checkout,) and again.lines[-1].startswith("uv run ditbench run ")
    for distribution, line in (
        ("their-plugin", "uv pip install their-plugin==0.1.0"),
        ("ditbench-unet", "uv pip install -e examples/ditbench-unet"),
        ("a @ https://evil.example", None),
    ):
        plain = finished()
        theirs = plain.architecture.model_copy(update={"distribution": distribution})
        found = reproduction(plain.model_copy(update={"architecture": theirs}))
        assert found.lines[:-1] == ((checkout, line) if line else (checkout,))
        assert any("is not part of ditbench" in caveat for caveat in found.caveats) == (distribution != "ditbench-unet")
    assert again.caveats[0] == "It ran with ditbench-dit 0.1.0 (source sha256 eeeeeeeeeeee), torch 2.15.0."


def test_what_a_clone_has_is_known():
    root = Path(assets.__file__).parents[3]
    packages = [*(root / "plugins").glob("*/pyproject.toml"), *(root / "examples").glob("*/pyproject.toml")]
    names = {tomllib.loads(path.read_text(encoding="utf-8"))["project"]["name"]: path.parent for path in packages}
    assert SHIPPED | EXAMPLES.keys() == names.keys()
    assert all(root / place == names[name] for name, place in EXAMPLES.items())


def test_an_unknown_bundle_of_datatables_is_refused(monkeypatch, tmp_path):
    (tmp_path / "html").mkdir()
    (tmp_path / "html" / "dt_bundle.js").write_text("export default 1")
    spec = ModuleSpec("itables", None, origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(assets, "find_spec", lambda name: spec)
    with pytest.raises(BadFile, match=r"Install itables 2\.9\.1"):
        assets.datatables()


def test_colours_can_be_read_and_told_from_the_paper():
    style = (Path(assets.__file__).parent / "static" / "site.css").read_text(encoding="utf-8")
    found = {name: both for name, *both in re.findall(r"--(\w+): light-dark\((#\w{6}), (#\w{6})\)", style)}
    for theme in (0, 1):
        for name, both in found.items():
            least = 4.5 if name in ("ink", "muted", "link", "bad") else 3 if re.fullmatch(r"c\d", name) else 1
            for ground in ("paper", "shade") if least == 4.5 else ("paper",):
                assert contrast(both[theme], found[ground][theme]) >= least, (name, theme)


def contrast(one, other):
    """As WCAG 2 defines it."""
    bright, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


def luminance(colour):
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_texts_of_plots_are_escaped():
    (board,) = boards([hostile()])
    contents = Contents([board])
    (run,) = contents.runs
    charts = [plots.pareto(contents, board), plots.losses(contents, board, [run])]
    assert [chart["series"][0]["name"].unescape() for chart in charts] == [HOSTILE, HOSTILE]
    assert "<script" not in json.dumps(charts)
