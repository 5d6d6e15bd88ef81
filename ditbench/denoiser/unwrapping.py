"""Weights inside of what wraps them: the entries of a checkpoint, and what DDP, torch.compile or Lightning put before
their names. What is certain is taken off, what is not is left for whoever can try whether it fits.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any, Literal, TypeGuard

from torch import Tensor

from ..errors import BadValue

WeightsChoice = Literal["ema", "raw"]
_ENTRIES: Mapping[WeightsChoice, tuple[str, ...]] = {  # of a training checkpoint, as DiT's, diffusers' and timm's
    "ema": ("ema", "ema_state_dict", "state_dict_ema", "ema_model", "model_ema"),
    "raw": ("model",),
}
_WRAPPED = ("state_dict", "model_state_dict", "module", "net", "params")  # whose one set of weights is in there
_BY_TORCH = {"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}  # names in names, of torch's wrappers
_AVERAGED = "n_averaged"  # beside the weights of torch's `AveragedModel`
_EMA = re.compile(r"(^|[._])ema([._]|$)")
_DEEPEST = 3  # entries within each other, and parts of a name that may be taken off


def find_weights(content: object, weights: WeightsChoice | None) -> tuple[dict[str, Tensor], str]:
    """The state dict in a file's content, and whether it is "ema", "raw" or "unstated".

    A bare state dict says nothing, nor does one under ``state_dict``. `BadValue` says what there is instead of one.
    """
    return _find(content, weights, "")


def _find(content: object, weights: WeightsChoice | None, way: str) -> tuple[dict[str, Tensor], str]:
    if not isinstance(content, dict) or not content:
        raise BadValue(f"holds no state dict{way}")
    if _is_state_dict(content):
        return content, weights or "unstated"
    wanted = weights or "ema"
    entry = _entry(content, _ENTRIES[wanted])
    stated = weights if entry is None else wanted
    entry = entry or _entry(content, _WRAPPED)
    if entry is not None and way.count("'") < 2 * _DEEPEST:
        return _find(content[entry], stated, f"{way} under {entry!r}")
    raise BadValue(f"holds {_held(content)}{way}: {_lack(content, wanted)}")


def _entry(content: Mapping[Any, Any], names: tuple[str, ...]) -> str | None:
    return next((name for name in names if isinstance(content.get(name), dict)), None)


def _held(content: Mapping[Any, Any]) -> str:
    more = f" and {len(content) - 6} more" if len(content) > 6 else ""
    return f"{', '.join(str(repr(name))[:100] for name in list(content)[:6])}{more}"


def _lack(content: Mapping[Any, Any], wanted: WeightsChoice) -> str:
    if all(isinstance(value, Tensor) for value in content.values()):
        return f"{next(name for name in content if not isinstance(name, str))!r} is no name of a tensor"
    if any(isinstance(value, Tensor) for value in content.values()):
        other = next(name for name, value in content.items() if not isinstance(value, Tensor))
        return f"{str(repr(other))[:100]} is {type(content[other]).__name__}, no tensor"
    return f"no {wanted} weights under {' or '.join(map(repr, _ENTRIES[wanted]))}"


def candidates(state: Mapping[str, Tensor], prefix: str = "") -> Iterator[tuple[str, dict[str, Tensor]]]:
    """What may be a network's weights: all, without what is certainly a wrapper's; then those of one beginning each.

    Each with the beginning that was taken off, such as ``model.``; the whole has none. `BadValue` if two have one name.
    """
    plain = _unwrapped(state)
    yield prefix, plain
    if prefix.count(".") < _DEEPEST:
        for name, group in groups(plain).items():
            yield from candidates(group, f"{prefix}{name}.")


def groups(state: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """The tensors by the first part of their names, which is taken off; those whose name has one part are left out."""
    found: dict[str, dict[str, Tensor]] = defaultdict(dict)
    for name, tensor in state.items():
        first, dot, rest = name.partition(".")
        if dot:
            found[first][rest] = tensor
    return dict(found)


def is_ema(prefix: str) -> bool:
    """Whether names that begin so are of averaged weights, going by the word."""
    return _EMA.search(prefix) is not None


def _unwrapped(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    plain: dict[str, Tensor] = {}
    for name, tensor in state.items():
        short = ".".join(part for part in name.split(".") if part not in _BY_TORCH)
        if short in plain:
            raise BadValue(f"holds two tensors that are {short!r}, but for what torch.compile and FSDP add to names")
        plain[short] = tensor
    beside = {name: plain[name] for name in plain if name != _AVERAGED}
    if beside and all(name.startswith("module.") for name in beside):  # DDP, DataParallel, DeepSpeed, AveragedModel
        return _unwrapped({name.removeprefix("module."): tensor for name, tensor in beside.items()})
    return plain


def _is_state_dict(content: object) -> TypeGuard[dict[str, Tensor]]:
    return (
        isinstance(content, dict)
        and bool(content)
        and all(isinstance(key, str) and isinstance(value, Tensor) for key, value in content.items())
    )
