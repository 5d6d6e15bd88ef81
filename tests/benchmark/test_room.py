"""A GPU without room for a step, by a stand-in: the row says what to do, and the run goes on with it."""

import pytest
import torch

import ditbench
from ditbench.benchmark import work
from ditbench.benchmark.room import told_of_room
from ditbench.cli.options import as_flags
from ditbench.errors import BadValue
from ditbench.tracks.lookup import resolve_track
from ditbench.training.trainer import Trainer

CUDA = torch.device("cuda")


@pytest.fixture
def recipe():
    return resolve_track(ditbench.Registry.installed(), "digits").recipe.model_copy(update={"batch_size": 96})


@pytest.mark.parametrize(
    ("micro_batch", "processes", "told"),
    [
        (None, 1, "96 images in a pass, of a batch of 96; with `micro_batch` 48 the same"),
        (None, 2, "48 images in a pass, of a batch of 96; with `micro_batch` 24 the same"),
        (6, 1, "6 images in a pass, of a batch of 96; with `micro_batch` 3 the same"),
        (1, 1, "1 images in a pass, of a batch of 96; with `checkpointing` the same"),
    ],
)
def test_what_would_fit_is_a_part_of_the_batch(recipe, micro_batch, processes, told):
    recipe = recipe.model_copy(update={"micro_batch": micro_batch})
    with pytest.raises(BadValue) as error, told_of_room(recipe, CUDA, processes):
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried")
    assert told in str(error.value) and "\n" not in str(error.value)


def test_the_row_names_the_way_and_the_run_goes_on_with_it(toy, tmp_path, monkeypatch):
    """From the checkpoint: `micro_batch` is no part of the hash."""
    step = Trainer.step

    def full(self):
        if self.clock.steps >= 4 and self.recipe.micro_batch is None:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.")
        return step(self)

    monkeypatch.setattr(Trainer, "step", full)
    asked = {"device": "cpu", "budget": "8-steps", "executor": "inline", "checkpoint_seconds": 1e-6}
    (failed,) = ditbench.run("tiny", ["toy"], out=tmp_path, **asked)
    assert failed.status == "failed" and "of a batch of 16; with `micro_batch` 8 the same command" in failed.reason
    assert "--micro-batch 8" in as_flags(failed.reason) and "Tried to allocate" in failed.reason
    (done,) = ditbench.run("tiny", ["toy"], out=tmp_path, micro_batch=8, **asked)
    assert (done.status, done.run_id, done.training.resumed) == ("finished", failed.run_id, 1)


@pytest.mark.parametrize(("eval_at", "stem"), [((0.5,), "at-50-percent"), ((), "samples")], ids=["on the way", "end"])
def test_where_samples_have_no_room_no_pass_of_training_is_to_blame(toy, tmp_path, monkeypatch, eval_at, stem):
    """Beside training there is less: without the milestone the same run goes on."""
    draw = work.draw

    def full(*arguments):
        if stem in arguments:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return draw(*arguments)

    monkeypatch.setattr(work, "draw", full)
    asked = {"device": "cpu", "budget": "4-steps", "executor": "inline"}
    (failed,) = ditbench.run("tiny", ["toy"], out=tmp_path, eval_at=eval_at, **asked)
    assert "no room to sample 16 images at once" in failed.reason and "batch_size in [sampler]" in failed.reason
    assert "micro" not in failed.reason and ("without `eval_at` the same command" in failed.reason) == bool(eval_at)
    if eval_at:
        (done,) = ditbench.run("tiny", ["toy"], out=tmp_path, **asked)
        assert (done.status, done.run_id, done.training.resumed) == ("finished", failed.run_id, 1)
