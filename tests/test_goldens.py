"""Every network equals its published reference: output, input gradient, and every parameter's gradient.

A golden file holds inputs and results of a reference network whose weights are rebuilt from their names.
They enter our network through the plugin's `convert_reference`, as a published checkpoint would, and
gradients are taken with respect to them, so each is compared under the reference's own name.

    uv run pytest tests/test_goldens.py --goldens DIR -rP
"""

from __future__ import annotations

import json
import zlib
from importlib import import_module
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch import Tensor
from torch.func import functional_call

from ditbench.components import load
from ditbench.registry import Registry, pick

OUTPUT, INPUT_GRADIENT, GRADIENT_NORM = 1e-5, 1e-4, 1e-3  # largest relative errors


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test per file; the `diffusion_*` files are about objectives and samplers, not about networks."""
    folder = Path(metafunc.config.getoption("goldens"))
    if not folder.is_dir():
        raise pytest.UsageError(f"--goldens: {folder} is no folder.")
    files = sorted(path for path in folder.iterdir() if path.is_file())
    networks = [path for path in files if not path.name.startswith("diffusion_")]
    if not networks:
        raise pytest.UsageError(f"--goldens: {folder} holds no golden file of a network.")
    metafunc.parametrize("path", networks, ids=lambda path: path.name)


def test_network_equals_reference(path: Path) -> None:
    tensors, metadata = read(path)
    architecture = metadata["architecture"]
    weights = rebuild(tensors, json.loads(metadata["seeded"]))
    expected_norms = json.loads(metadata["grad_norms"])
    assert expected_norms.keys() <= weights.keys()

    record = pick("architecture", architecture, Registry.installed().architectures)
    build = load(record.build)
    reference = reference_module(build.__module__)
    spec, settings = reference.from_reference_config(json.loads(metadata["config"]), architecture)
    net = build(spec, **settings)
    converted = load(record.convert_reference)(weights)
    net.load_state_dict({name: tensor.detach() for name, tensor in converted.items()}, strict=True)

    x = tensors["x"].requires_grad_()
    masking = {"keep_ids": tensors["keep_ids"]} if "keep_ids" in tensors else {}
    y = tensors.get("y", torch.zeros(len(x), dtype=torch.int64))
    out = functional_call(net, converted, (x, tensors["t"].float(), y), masking)
    names = list(expected_norms)
    gradients = torch.autograd.grad(
        (out * cotangent(metadata["case"], out)).sum(),
        [x, *(weights[name] for name in names)],
        allow_unused=True,
    )

    errors = {
        name: abs(norm(gradient) - expected_norms[name]) / max(expected_norms[name], 1e-6)
        for name, gradient in zip(names, gradients[1:], strict=True)
    }
    worst = max(errors, key=errors.__getitem__)
    out_error, x_error = distance(out, tensors["out"]), distance(gradients[0], tensors["x_grad"])
    print(f"{path.name}: output {out_error:.1e}, input gradient {x_error:.1e}, {worst} {errors[worst]:.1e}")  # -rP
    assert out_error <= OUTPUT
    assert x_error <= INPUT_GRADIENT
    assert all(error <= GRADIENT_NORM for error in errors.values()), f"{worst}: {errors[worst]}"


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and the metadata of a golden file."""
    with safe_open(path, "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118


def reference_module(module: str) -> ModuleType:
    """`ditbench_x.reference`, which stands beside the module that builds the network."""
    return import_module(module.partition(".")[0] + ".reference")


def rebuild(tensors: dict[str, Tensor], seeded: dict[str, list[int]]) -> dict[str, Tensor]:
    """The reference's weights: tables are in the file, the rest is noise that is seeded by the name."""
    fixed = {name.removeprefix("fixed."): table for name, table in tensors.items() if name.startswith("fixed.")}
    noise = {name: torch.from_numpy(draw(name, shape, 0.05)) for name, shape in seeded.items()}
    return {name: weight.requires_grad_() for name, weight in {**fixed, **noise}.items()}


def cotangent(case: str, out: Tensor) -> Tensor:
    """What the output is multiplied with, to make the number whose gradients the file holds."""
    return torch.from_numpy(draw(f"input:{case}:cotangent", out.shape))


def draw(name: str, shape: list[int] | torch.Size, scale: float = 1.0) -> np.ndarray:
    """Normal float32 numbers that depend on the name alone; scaled in float64, as the files were made."""
    seed = zlib.crc32(name.encode()) & 0x7FFFFFFF
    return (np.random.RandomState(seed).standard_normal(tuple(shape)) * scale).astype(np.float32)


def norm(gradient: Tensor | None) -> float:
    return 0.0 if gradient is None else gradient.double().norm().item()


def distance(ours: Tensor, theirs: Tensor) -> float:
    """||a - b|| / ||b||"""
    assert ours.shape == theirs.shape
    return ((ours - theirs).double().norm() / theirs.double().norm()).item()
