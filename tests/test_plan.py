"""What the user asks becomes runs; what is wrong is said in one line, before any work."""

import pytest

from ditbench.errors import BadValue, DitbenchError, UnknownName
from ditbench.plan import make_plan, select
from ditbench.registry import Registry


@pytest.fixture
def registry(toy):
    return Registry.installed()


def plan(registry, *architectures, track="tiny", seeds=(0,), budget=None, device="cpu", **more):
    return make_plan(registry, track, architectures, seeds, budget, device, **more)


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
    ]
    assert len({base.hash, *(run.hash for run in others)}) == 8
    same = [
        *plan(registry, "toy", keep_samples=True),
        *plan(registry, "toy", checkpoint_seconds=1.0),
        *plan(registry, "toy", budget="0.04k-steps"),
    ]
    assert {run.hash for run in same} == {base.hash}
    assert "/" not in plan(registry, "toy:big/2")[0].run_id


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"architectures": ["dti"]}, "No architecture named 'dti'. Did you mean 'mdt' or 'dit'? Known: diffit, dit,"),
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
        ({"device": "gpu"}, "No device named 'gpu'"),
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
