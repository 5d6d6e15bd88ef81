"""Values that no key of a track may have, made for each from what is right there.

`wrong_tracks` yields the whole file with one key wrong; a text that says which comes along.
"""

import copy
import datetime
from collections.abc import Iterator
from typing import Any

import tomli_w

INF, NAN = float("inf"), float("nan")
DAY, NOON = datetime.date(2024, 2, 29), datetime.time(12, 0)
MOMENT = datetime.datetime(2024, 2, 29, 12, 0, tzinfo=datetime.UTC)
EMPTY: tuple[Any, ...] = ([], {}, [[]], [{}], {"": 1}, {"a": {}}, DAY, NOON, MOMENT)  # of the wrong form anywhere
NO_TEXT = (*EMPTY, True, False, 0, 1, -1, 1.5, INF, NAN, 2**62, 1e300, ["x"], {"x": "y"})
NO_NUMBER = (
    *EMPTY,
    True,
    False,
    "",
    "1",
    "0.5",
    "abc",
    "1e-3",
    "true",
    "nan",
    "٣",
    [1],
    [0.5],
    {"value": 1},
    NAN,
    INF,
    -INF,
)
NO_PAIR = (  # of shares
    *NO_NUMBER, 0.5, ["x"], [0.1, 0.2, 0.3], [0.2, 0.1], [0.1, 0.1], [NAN, 0.1], [0.1, INF], [True, 0.5], ["0.1", 0.2],
    [-1, 0.5], [0.1, 2],
)  # fmt: skip
NO_CHOICES = (
    *NO_NUMBER, 0.5, ["x", "y"], [0.1, 0.1], [NAN, 0.1], [0.1, INF], [True, 0.5], ["0.1", 0.2], [-1, 0.5], [0.1, 1e9],
    [n / 100 for n in range(17)],
)  # fmt: skip
HUGE = (2**62, -(2**62), -1, -0.5, 1e300, -1e300, 1e30)
NO_NAME = (*NO_TEXT, "", " ", "nonesuch", "x" * 300, "a\nb", "\x1b[31m", "../up", "a/b/c", "naïve ", ":", "/", "None")
NO_COUNT = (*NO_NUMBER, *HUGE, 1.5, 1e9)
NO_FRACTION = (*NO_NUMBER, *HUGE, 1.0000001, 2)
NO_SHARE = (*NO_FRACTION, 1, 1.0)
NO_BOOL = (*EMPTY, 0, 1, 1.0, "true", "false", "yes", "no", "on", "", "abc", NAN, [True], {"value": True})
NO_TABLE = (*EMPTY[:1], *EMPTY[2:], True, 0, 1.5, "", "x", "digits", [1], ["x"], NAN, {"name": 1}, {"nonesuch": "x"})
NO_BUDGET = (
    *NO_TEXT, "", " ", "400k", "steps", "-5-steps", "0-steps", "1.5-steps", "1e300-flops", "1e9999-flops", "nan-steps",
    "9" * 400 + "h", "inf-images", "10 min", "1gpu", "x" * 300, "a\nb", "\x1b[31m", "1e30-steps",
    "99999999999999999999-images",
)  # fmt: skip

WRONG: dict[str, tuple[Any, ...]] = {
    "name": (*NO_TEXT, "", " ", "x" * 300, "a\nb", "\x1b[31m", "../up", "a/b", ".hidden", "digits"),
    "version": (*NO_COUNT, 0, 3.0, "3"),
    "description": NO_TEXT,
    "space": NO_NAME,
    "size": NO_NAME,
    "budget": NO_BUDGET,
    "budgets": (*NO_TABLE, {"a b": "1h"}, {"90s": "1h"}, {"smoke": 1}, {"smoke": ""}, {"x" * 300: "1h"}),
    "budgets.smoke": NO_BUDGET,
    "seeds": (*NO_COUNT, 0, 2, 10**6),
    "search": (*NO_TABLE, {"trials": 8}, {"learning_rate": [1e-3, 1e-2], "rate": 1}),
    "search.learning_rate": (*NO_PAIR, [0, 0.1]),
    "search.weight_decay": NO_CHOICES,
    "search.beta2": (*NO_CHOICES, [0.9, 1.0]),
    "search.warmup": NO_PAIR,
    "search.trials": (*NO_COUNT, 0, 1, 257, 8.0),
    "speedrun": NO_TABLE,
    "speedrun.network": (*NO_TEXT, ""),
    "speedrun.seeds": (*NO_COUNT, 0, 4, 101, 5.0),
    "speedrun.targets": (*(v for v in NO_TEXT if v != {"": 1}), "fid", {"fid": "2"}, {"fid": NAN}, {"fid": 1e9}),
    "trained_with": (*EMPTY[1:], True, 0, 1.5, "dinov2", ["a b"], [""], [1], ["x"] * 21, ["dinov2-vit-b-14"]),
    "target": (*NO_NUMBER, *HUGE[:2], *HUGE[4:]),
    "data": NO_TABLE,
    "data.dataset": (*NO_NAME, "digits:", "digits:place", ":digits", "digit"),
    "data.resolution": (*NO_COUNT, 0, 16, 8.0),
    "data.flip": NO_BOOL,
    "data.posterior": (*NO_NAME, "mean"),
    "data.channels": (*NO_COUNT, 0, 2, 4, 1.0),
    "data.images": (*NO_COUNT, 0),
    "data.classes": (*NO_COUNT, 0),
    "data.frames": (*NO_COUNT, 0, 8, 8.0),  # of images
    "data.interval": (*NO_COUNT, 0, 2),
    "data.downsampling": (*NO_COUNT, 0, 3, 8),
    "data.autoencoder": (*NO_TEXT, "", "stabilityai/sd-vae-ft-mse"),
    "data.normalise": (*NO_NAME, "channel", "Channel"),  # of pixels
    "objective": NO_TABLE,
    "objective.name": (*NO_NAME, "iddpm", "Flow"),
    "objective.settings": (*NO_TABLE, {"tme": "uniform"}, {"learn_variance": True}, {"time": 1}, {"time": ""}),
    "objective.settings.time": (*NO_NAME, "lognormal", "Uniform"),
    "recipe": NO_TABLE,
    "recipe.optimizer": (*NO_NAME, "sgd", "AdamW", "adan"),
    "recipe.learning_rate": (*NO_NUMBER, *HUGE, 0, 1e30, 1.5),
    "recipe.betas": (
        *NO_NUMBER[2:], 0.9, [], [0.9], [0.9, 0.99, 0.999], [0.9, 1], [1.0, 0.99], [-0.1, 0.9], [True, 0.9],
        ["0.9", 0.99],        [NAN, 0.9], [0.9, INF], [[0.9], [0.99]], [0.9, 1e30], "0.9, 0.99",
    ),
    "recipe.parametrization": (*NO_NAME, "muP"),
    "recipe.matrix_rate": (*NO_NUMBER, *HUGE, 0, 0.02),  # Muon's alone
    "recipe.momentum": (*NO_SHARE, 0.9),
    "recipe.weight_decay": (*NO_NUMBER, *HUGE, 101),
    "recipe.batch_size": (*NO_COUNT, 0, 64.0, 10**9),
    "recipe.micro_batch": (*NO_COUNT, 0, 3, 128),
    "recipe.warmup": NO_FRACTION,
    "recipe.warmup_steps": (*NO_COUNT, 5),
    "recipe.decay": (*NO_NAME, "exponential"),
    "recipe.clip_norm": (*NO_NUMBER, *HUGE, 0, 0.0),
    "recipe.label_dropout": (*NO_SHARE, 0),
    "recipe.ema_half_life": NO_FRACTION,
    "recipe.ema_decay": (*NO_SHARE, 0.9),
    "recipe.precision": (*NO_NAME, "float16", "fp32"),
    "recipe.compile": NO_NAME,
    "recipe.checkpointing": NO_BOOL,
    "sampler": NO_TABLE,
    "sampler.name": (*NO_NAME, "ddpm", "Euler"),
    "sampler.steps": (*NO_COUNT, 0, 25.0, 10**12),
    "sampler.batch_size": (*NO_COUNT, 0, 10**9),
    "sampler.settings": (*NO_TABLE[:-1], {"nonesuch": 1}, {"shift": 0}, {"shift": "2"}, {"shift_dimension": 1.5}),
    "sampler.guidance": NO_TABLE,
    "sampler.guidance.scale": (*NO_NUMBER, *HUGE),
    "sampler.guidance.formula": (*NO_NAME, "w"),
    "sampler.guidance.schedule": (*NO_NAME, "cosine"),
    "sampler.guidance.power": (*NO_NUMBER, *HUGE, 0),
    "sampler.guidance.interval": (
        *NO_NUMBER, [], [1], [1, 2, 3], [500, 100], [5, 5], [-1, 10], [0, 1001], [NAN, 1], [0, INF], ["0", 1],
        [True, 500],
    ),
    "sampler.guidance.channels": (*NO_COUNT, 0, 2),
    "evaluation": NO_TABLE,
    "evaluation.samples": (*NO_COUNT, 0, 19, 1000.0, 10**12),
    "evaluation.labels": (*NO_NAME, "Balanced"),
    "evaluation.features": (*NO_NAME, "fashion-cnn", "digits"),
    "evaluation.denoised": (*NO_COUNT, 0, 19, 10**9),
    "evaluation.denoised_on_the_way": (*NO_COUNT, -1, 10**9),
    "evaluation.precision": (*NO_NAME, "auto", "fp16"),
    "evaluation.metrics": (
        *NO_TEXT, "fid", [""], ["fid", "fid"], ["fid", "fid/digits-cnn"], ["sfid"], ["fid/"], ["/digits-cnn"],
        ["fid/x"], ["fid/digits-cnn/x"], ["FID"], ["fd"] * 2,
        [1], [True], [["fid"]], ["kid\n"], ["knn/nonesuch"],
    ),
}  # fmt: skip


def whole(track: dict[str, Any]) -> dict[str, Any]:
    """A track of pixels with every key that can stand beside the others, guidance included."""
    said = copy.deepcopy(track)
    said["name"], said["budgets"] = "mine", {"smoke": "8-steps"}
    said["budget"], said["target"], said["seeds"] = "smoke", 2.0, 5
    said["data"] |= {"posterior": "sample", "downsampling": 1}
    said["recipe"] |= {"micro_batch": 16, "clip_norm": 1.0, "checkpointing": False}
    said["sampler"]["guidance"] = {
        "scale": 1.5, "formula": "u + w(c - u)", "schedule": "power-cosine", "power": 2.0, "interval": [100, 900],
        "channels": 1,
    }  # fmt: skip
    return said


def wrong_tracks(right: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """What is wrong, and the file: each key with each of its wrong values, misspelled, and beside an unknown one."""
    for key, values in WRONG.items():
        *above, last = key.split(".")
        for value in values:
            yield f"{key} = {value!r:.80}", tomli_w.dumps(_with(right, above, last, value))
        if last in _table(right, above):
            moved = copy.deepcopy(right)
            table = _table(moved, above)
            table[f"{last}x"] = table.pop(last)
            yield f"{key}x in its place", tomli_w.dumps(moved)
        yield f"{key}_ beside it", tomli_w.dumps(_with(right, above, f"{last}_", 1))


def _with(right: dict[str, Any], above: list[str], last: str, value: Any) -> dict[str, Any]:
    changed = copy.deepcopy(right)
    _table(changed, above)[last] = copy.deepcopy(value)
    return changed


def _table(content: dict[str, Any], above: list[str]) -> dict[str, Any]:
    for part in above:
        content = content[part]
    return content
