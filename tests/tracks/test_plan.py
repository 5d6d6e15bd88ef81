"""What the user asks becomes runs; what is wrong is said in one line, before any work."""

import math

import pytest
import tomli_w

from ditbench.errors import BadFile, BadValue, DitbenchError, UnknownName
from ditbench.registry import Registry, select
from ditbench.tracks.ledger import LEDGER_FILE
from ditbench.tracks.lookup import resolve_track
from ditbench.tracks.plan import find_dataset, make_plan
from ditbench.tracks.track import load_track


@pytest.fixture
def registry(toy):
    return Registry.installed()


NATIVE = """
import dataclasses, ditbench, toy

def native(space, resolution, size):
    return ditbench.Native(source="a paper", recipe={recipe}, objectives={objectives})

@ditbench.hookimpl
def ditbench_architectures():
    ladder = dict(nano=ditbench.Ladder(rungs=dict([(2, dict(depth=2))]), narrow=dict(width=8), wide=dict(width=24)))
    yield dataclasses.replace(toy.ARCHITECTURE, name="mine", native=native, ladder=ladder)
"""


def plan(registry, *architectures, track="tiny", seeds=(0,), device="cpu", **more):
    return make_plan(registry, track, architectures, seeds, device=device, **more)


@pytest.fixture
def with_native(install):
    """A function: the registry with an architecture `mine`, which changes a track so."""

    def with_native(recipe="{}", objectives="{}"):
        install("ditbench-mine", "mine", NATIVE.format(recipe=recipe, objectives=objectives))
        return Registry.installed(strict=True)

    return with_native


@pytest.fixture
def edited(registry, tmp_path):
    """A function: the file of an installed track, changed."""

    def edited(track, *changes):
        text = registry.tracks[track].read_text()
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        path = tmp_path / "changed.toml"
        path.write_text(text)
        return str(path)

    return edited


def test_a_selection_names_size_and_options(registry):
    chosen = select(registry, "toy:big/2+fault=nan+bias=off", "nano")
    assert (chosen.architecture.name, chosen.size, chosen.options) == ("toy", "big/2", {"fault": "nan", "bias": False})
    assert chosen.label == "toy:big/2+bias=off+fault=nan"
    assert chosen.settings == {"width": 64, "fault": "nan", "depth": 1, "bias": False}
    with pytest.raises(BadValue, match="'toy' names no size: write toy:SIZE, with one of nano, big/2"):
        select(registry, "toy")


def test_what_equals_the_default_is_the_same_run(registry):
    (plain,), (spelled,) = plan(registry, "toy"), plan(registry, "toy:nano+depth=1+bias=on")
    assert plain == spelled and plain.run_id == spelled.run_id


def test_runs_are_in_order_seeds_innermost(registry):
    runs = plan(registry, "toy", "toy+depth=2", seeds=(3, 1))
    assert [(run.label, run.seed) for run in runs] == [
        ("toy:nano", 3),
        ("toy:nano", 1),
        ("toy:nano+depth=2", 3),
        ("toy:nano+depth=2", 1),
    ]
    assert len({run.run_id for run in runs}) == 4


def test_the_run_id_changes_with_whatever_changes_the_result(registry):
    (base,) = plan(registry, "toy")
    others = [
        *plan(registry, "toy:big/2"),
        *plan(registry, "toy+depth=2"),
        *plan(registry, "toy", seeds=(1,)),
        *plan(registry, "toy", budget="41-steps"),
        *plan(registry, "toy", device="cuda"),
        *plan(registry, "toy", track="digits", budget="40-steps"),
        base.model_copy(update={"distribution_version": "0.2"}),
        base.model_copy(update={"ruleset": "native"}),
        base.model_copy(update={"recipe": base.recipe.model_copy(update={"learning_rate": 1.0})}),
    ]
    assert len({base.hash, *(run.hash for run in others)}) == 10
    same = [
        *plan(registry, "toy", keep_samples=True),
        *plan(registry, "toy", checkpoint_seconds=1.0),
        *plan(registry, "toy", budget="0.04k-steps"),
        *plan(registry, "toy", eval_at=(0.25, 0.5)),
        *plan(registry, "toy", offline=True, skip_bad=True),
    ]
    assert {run.hash for run in same} == {base.hash}
    before = {"flops_rule": 1}  # how FLOPs are counted matters where they are the budget, and only there
    assert base.flops_rule == 2 and base.model_copy(update=before).hash == base.hash
    (flops,) = plan(registry, "toy", budget="1e12-flops")
    assert flops.model_copy(update=before).hash != flops.hash
    assert "/" not in plan(registry, "toy:big/2")[0].run_id


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"architectures": ["dti"]}, "No architecture named 'dti'. Did you mean 'mdt' or 'dit'?"),
        ({"architectures": ["toy:S/2"]}, "No size of toy named 'S/2'."),
        ({"architectures": ["toy+dept=2"]}, "No option of toy named 'dept'. Did you mean 'depth'?"),
        ({"architectures": ["toy+depth=two"]}, "Option 'depth' of toy: 'two' is no int."),
        ({"architectures": ["toy+depth"]}, "has no value"),
        ({"architectures": ["toy+depth=2+depth=3"]}, "stands twice"),
        ({"architectures": ["toy", "toy:nano"]}, "stands twice in the selection"),
        ({"architectures": [""]}, "No architecture named ''"),
        ({"architectures": []}, "No architecture chosen"),
        ({"track": "digit"}, "No track named 'digit'. Did you mean 'digits'?"),
        ({"budget": "ten"}, "'ten' is no budget"),
        ({"budget": "blik"}, "'blik' is no budget. Did you mean 'blink'? Named: blink (8-steps)."),
        ({"budget": "1gpu-hours"}, "A budget of 1gpu-hours needs a GPU of CUDA's, not device 'cpu'"),
        ({"ruleset": "wild"}, "No ruleset named 'wild'. Known: matched, native, tuned, speedrun."),
        ({"ruleset": "native"}, "Architecture 'toy' declares no native recipe"),
        ({"eval_at": (0.5, 1.0)}, "Evaluations at 50%, 100% of the budget: each must lie between"),
        ({"eval_at": (0.0,)}, "each must lie between"),
        ({"eval_at": (float("nan"),)}, "each must lie between"),
        ({"eval_at": (0.5, 0.5)}, "name each once, in ascending order"),
        ({"eval_at": (0.5, 0.25)}, "name each once, in ascending order"),
        ({"data": "there"}, "the data set 'digits' is always at hand; it can't be read from 'there'"),
        ({"data": "digits:there"}, "`data` 'digits:there': the data set 'digits' is always at hand"),
        ({"data": "image-folder"}, "Track 'tiny': where is the data? Give its folder with `data` DIR"),
        ({"data": "hf"}, "`data` hf:NAME"),
        (
            {"track": "imagenet256"},
            "ditbench data prepare SOURCE --autoencoder stabilityai/sd-vae-ft-mse --resolution 256 --out",
        ),
        ({"device": "gpu"}, "No device named 'gpu'"),
        ({"device": "mps", "budget": "1gpu-hours"}, "needs a GPU of CUDA's, not device 'mps'"),
        ({"seeds": ()}, "are no list"),
        ({"seeds": (0, 0)}, "one stands twice"),
        ({"seeds": (-1,)}, "no whole number"),
        ({"seeds": ("0",)}, "no whole number"),
        ({"seeds": 3}, "are no list"),
        ({"checkpoint_seconds": 0.0}, "positive number of seconds"),
    ],
)
def test_a_mistake_is_one_line_that_names_it(registry, arguments, message):
    given = {"architectures": ["toy"], **arguments}
    with pytest.raises(DitbenchError) as caught:
        plan(registry, *given.pop("architectures"), **given)
    assert message in str(caught.value) and "\n" not in str(caught.value)
    assert isinstance(caught.value, (BadValue, UnknownName))


def test_a_run_is_trained_as_the_track_says(registry):
    (run,) = plan(registry, "toy", budget="blink", eval_at=[0.25, 0.5])
    assert (run.ruleset, run.budget, run.eval_at) == ("matched", "8-steps", (0.25, 0.5))
    assert (run.recipe, run.objective) == (run.track.recipe, run.track.objective)


def test_a_native_run_is_trained_as_its_paper_says(registry, with_native):
    recipe = """{"optimizer": "adan", "betas": (0.98, 0.92, 0.99), "warmup_steps": 7, "clip_norm": 1.0}"""
    (run,) = plan(
        with_native(recipe, """{"flow": {"time": "uniform"}, "edm": {"mean": 0.0}}"""), "mine", ruleset="native"
    )
    track = run.track.recipe
    assert (run.recipe.optimizer, run.recipe.clip_norm, run.ruleset) == ("adan", 1.0, "native")
    assert track.warmup > 0 and (run.recipe.warmup, run.recipe.warmup_steps) == (0, 7)
    assert run.recipe.model_dump(exclude={"optimizer", "betas", "warmup", "warmup_steps", "clip_norm"}) == (
        track.model_dump(exclude={"optimizer", "betas", "warmup", "warmup_steps", "clip_norm"})
    )
    assert (run.objective.name, run.objective.settings) == ("flow", {"time": "uniform"})


def test_a_size_of_a_ladder_is_trained_as_the_size_that_it_is_around(registry, with_native):
    by_size = with_native("""{"learning_rate": 3e-3 if size == "nano" else 1e-3}""")
    middle, rung = plan(by_size, "mine:nano", "mine:nano-x2", ruleset="native")
    assert rung.recipe == middle.recipe and rung.recipe.learning_rate == 3e-3
    assert (rung.size, rung.settings) == ("nano-x2", {**middle.settings, "depth": 2}) and "nano-x2" in rung.run_id


@pytest.mark.parametrize(
    ("recipe", "told"),
    [
        ("""{"optimizer": "adan"}""", "does not fit track 'tiny': adan has not 2 betas"),
        ("""{"learning_rate": -1.0}""", "does not fit track 'tiny': learning_rate: "),
        ("""{"batch_size": 1}""", "is wrong: a native recipe can't set batch_size"),
        ("""1 / 0""", "is wrong: ZeroDivisionError: division by zero (in mine.py:5 native)"),
        ("""__import__("os")._exit(0)""", "is wrong: its process ended with exit code 0 before it had answered"),
        ("""{"betas": object()}""", "is wrong: it answers with a builtins.object, and may with"),
    ],
)
def test_a_native_recipe_that_is_wrong_is_its_plugins_fault(registry, with_native, recipe, told):
    with pytest.raises(BadValue) as caught:
        plan(with_native(recipe), "mine", ruleset="native")
    where = "The native recipe of 'mine' (plugin 'mine' of ditbench-mine 0.1) "
    assert str(caught.value).startswith(where + told) and "\n" not in str(caught.value)


def test_what_a_native_recipe_changes_stays_in_a_process_of_its_own(registry, with_native):
    changing = """vars(__import__("math")).update(pi=3) or {"clip_norm": 3.0}"""
    (run,) = plan(with_native(changing), "mine", ruleset="native")
    assert run.recipe.clip_norm == 3.0 and math.pi > 3


def test_the_recipe_switches_checkpointing_on(registry, edited):
    track = edited("tiny", ('name = "tiny"', 'name = "mine"'), ("[recipe]", "[recipe]\ncheckpointing = true"))
    (run,) = plan(registry, "dit", track=track)
    assert run.recipe.checkpointing and run.label == "dit:nano"
    with pytest.raises(BadValue, match="'toy' has no option 'checkpointing'"):
        plan(registry, "toy", track=track)


def test_what_fits_training_into_memory_is_no_other_run(registry):
    (plain,) = plan(registry, "dit", track="digits")
    (small,) = plan(registry, "dit", track="digits", micro_batch=16, checkpointing=True)
    assert (small.recipe.micro_batch, small.recipe.checkpointing) == (16, True)
    assert small.settings["checkpointing"] is False
    assert small.build_settings == {**small.settings, "checkpointing": True}
    assert small.hash == plain.hash and small.track.hash == plain.track.hash
    with pytest.raises(BadValue, match=r"`micro_batch` 48: .*batch_size 64 is no multiple of micro_batch 48"):
        plan(registry, "dit", track="digits", micro_batch=48)


def test_what_is_compiled_is_another_run_of_the_same_row(registry):
    """Its speed is another, so on a budget of time it learns for longer, and is not ranked."""
    (plain,), (blocks,) = (plan(registry, "dit", track="digits", **how) for how in ({}, {"compile": "blocks"}))
    assert (blocks.recipe.compile, blocks.track.hash, blocks.deviations) == ("blocks", plain.track.hash, ())
    assert blocks.hash != plain.hash
    (timed,) = plan(registry, "dit", track="digits", budget="90s", compile="blocks")
    assert timed.deviations == ("compile blocks, not off, in a budget of time",)
    (same,) = plan(registry, "dit", track="digits", budget="90s", compile="off")
    assert same.deviations == ()
    with pytest.raises(BadValue, match=r"`compile` 'auto': Input should be 'on', 'off' or 'blocks'"):
        plan(registry, "dit", track="digits", compile="auto")


def test_who_chooses_mup_is_on_a_board_of_its_own(toy, with_native):
    registry = with_native("{'optimizer': 'adan', 'betas': (0.9, 0.9, 0.9)}")
    (plain,), (same,), (scaled,) = (
        plan(registry, "mine:nano-wide", parametrization=how) for how in (None, "standard", "mup")
    )
    assert same == plain and "parametrization" not in plain.recipe.model_dump()
    assert scaled.recipe == scaled.track.recipe and scaled.recipe.parametrization == "mup"
    assert scaled.deviations == ("parametrization mup, not standard",) and scaled.hash != plain.hash
    with pytest.raises(BadValue, match="does not fit track 'tiny': parametrization mup is of Adam's rate"):
        plan(registry, "mine", parametrization="mup", ruleset="native")
    with pytest.raises(
        BadValue, match=r"^mine:big/2 can't .* in no ladder, .*; of mine, those around nano have one\.$"
    ):
        plan(registry, "mine:big/2", parametrization="mup")
    with pytest.raises(BadValue, match=r"^toy:nano can't be trained with `parametrization` mup.* of its sizes has one"):
        plan(registry, "toy", parametrization="mup")


def test_a_track_may_ask_for_mup(toy, registry, with_native, edited):
    registry = with_native()
    track = edited("tiny", ('name = "tiny"', 'name = "mine"'), ("[recipe]", '[recipe]\nparametrization = "mup"'))
    (run,) = plan(registry, "mine:nano-x2", track=track)
    assert run.recipe.parametrization == "mup" and run.deviations == ()
    (other,) = plan(registry, "mine:nano-x2", track=track, parametrization="standard")
    assert other.deviations == ("parametrization standard, not mup",)


@pytest.mark.parametrize(
    ("track", "data", "found"),
    [
        ("digits", "", ("digits", "")),
        ("digits", "synthetic", ("synthetic", "")),
        ("fashion32", "", ("fashion-mnist", "")),
        ("fashion32", "some/where", ("fashion-mnist", "some/where")),
        ("fashion32", "image-folder:some/where", ("image-folder", "some/where")),
        ("fashion32", "hf:zalando/fashion_mnist", ("hf", "zalando/fashion_mnist")),
        ("imagenet256", "C:\\latents", ("latents", "C:\\latents")),
        ("imagenet256", "./synthetic", ("latents", "./synthetic")),
    ],
)
def test_the_data_is_the_tracks_or_another(registry, track, data, found):
    track = resolve_track(registry, track)
    dataset, place = find_dataset(registry, track, data)
    assert (dataset.name, place) == found


def test_a_track_may_be_trained_on_data_of_the_hub(registry, edited):
    track = resolve_track(registry, edited("tiny", ('"tiny"', '"mine"'), ('"digits"\nres', '"hf:some/set"\nres')))
    assert find_dataset(registry, track, "")[1] == "some/set"
    assert find_dataset(registry, track, "a/copy")[1] == "a/copy"


def test_a_track_may_be_a_file(registry, edited):
    path = edited("tiny", ('name = "tiny"', 'name = "mine"'), ("steps = 2", "steps = 3"))
    (run,) = plan(registry, "toy", track=path)
    assert (run.track.name, run.track.sampler.steps) == ("mine", 3)


def test_a_copy_of_an_installed_track_is_that_track(registry, edited):
    copy = edited("tiny", ('budget = "40-steps"', 'budget = "9-steps"'), ("shrunk", "made small"))
    assert resolve_track(registry, copy).hash == resolve_track(registry, "tiny").hash
    assert plan(registry, "toy", track=copy)[0].budget == "9-steps"


def test_a_file_does_not_take_the_name_of_an_installed_track(registry, edited):
    for changes in [("steps = 2", "steps = 3")], [("version = 1", "version = 2")]:
        with pytest.raises(BadValue, match=r"changed.toml' calls itself 'tiny', but is not the installed track"):
            resolve_track(registry, edited("tiny", *changes))


def test_a_published_track_that_has_changed_is_refused(registry, edited, tmp_path):
    path = edited("tiny", ('name = "tiny"', 'name = "mine"'))
    (tmp_path / LEDGER_FILE).write_text('[mine]\n1 = "0123456789ab"\n')
    with pytest.raises(BadValue, match="Track 'mine' has changed: its version 1 was published as 0123456789ab"):
        resolve_track(registry, path)


@pytest.mark.parametrize("name", ["none.toml", "./none", "some/where/none", "."])
def test_a_track_file_that_is_not_there_is_named(registry, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises((BadFile, UnknownName), match=r"(none|'\.')"):
        resolve_track(registry, name)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ([('name = "euler"', 'name = "ddpm"')], "sampler 'ddpm' can't drive objective 'flow', only iddpm, ddpm"),
        ([('"euler"', '"ddpm"'), ('"flow"', '"ddpm"'), ("settings", "# "), ("steps = 2", "steps = 1")], "at least 2"),
        (
            [('"euler"', '"ddpm"'), ('"flow"', '"ddpm"'), ("settings", "# "), ("steps = 2", "steps = 2000")],
            "at most 1000",
        ),
        ([("dropout = 0.1", "dropout = 0"), ("[eval", "[sampler.guidance]\nscale = 2.0\n[eval")], "guidance needs"),
        (
            [("[eval", "[sampler.guidance]\nscale = 2.0\nchannels = 3\n[eval")],
            "guidance on 3 channels, of data that has 1",
        ),
        ([('"digits"\nres', '"figures"\nres')], "No dataset named 'figures'"),
        ([('["fid", ', '["fid", "fid/digits-cnn", ')], "names a metric twice"),
        ([('["fid", ', '["sfid", ')], "Metric 'sfid' needs spatial"),
    ],
)
def test_a_track_whose_parts_do_not_fit_is_refused(registry, edited, changes, told):
    with pytest.raises(DitbenchError) as caught:
        resolve_track(registry, edited("tiny", ('name = "tiny"', 'name = "mine"'), *changes))
    assert told in str(caught.value) and "\n" not in str(caught.value)


def test_apples_gpu_computes_in_float32_is_unranked_and_says_what_it_can_not(registry, tmp_path):
    (run,) = plan(registry, "toy", device="mps")
    assert run.deviations == ("computed by Apple's MPS, which nobody has compared with other devices",)
    assert plan(registry, "toy")[0].deviations == ()
    track = load_track(registry.tracks["tiny"]).model_dump(mode="json", exclude_none=True)
    for change, told in (({"precision": "bfloat16"}, "bfloat16, compile"), ({"compile": "on"}, "float32, compile on")):
        file = tmp_path / "mine.toml"
        file.write_text(tomli_w.dumps({**track, "name": "mine", "recipe": {**track["recipe"], **change}}))
        with pytest.raises(BadValue, match=f"'mps' computes in float32 and eager; toy:nano asks for {told}"):
            plan(registry, "toy", track=str(file), device="mps")


def test_metrics_in_place_of_the_tracks(registry):
    """In the track's order, whatever order they are named in; its own are no change."""
    (own,) = plan(registry, "toy", track="digits", metrics=("fid", "denoise", "fid"))
    assert own.track.evaluation.metrics == ("denoise", "fid") and own.track.evaluation.denoised_on_the_way == 0
    assert own.deviations == ("the metrics denoise, fid, not the track's",)
    (more,) = plan(registry, "toy", metrics=("denoise", "knn"))
    assert more.track.evaluation.metrics == ("knn", "denoise")
    (usual,) = plan(registry, "toy", metrics=("knn", "is", "kid", "fid"))
    assert usual == plan(registry, "toy")[0]
    for wrong, said in (("fd/nothing", "No extractor named 'nothing'"), ("", "No metric named ''")):
        with pytest.raises(DitbenchError, match=said):
            plan(registry, "toy", metrics=(wrong,))
