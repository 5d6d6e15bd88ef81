"""Every network, objective and sampler equals its published reference.

A network's file holds inputs and results of a reference network whose weights are rebuilt from their names.
They enter our network through the plugin's `convert_reference`, as a published checkpoint would, and
gradients are taken with respect to them, so each is compared under the reference's own name.

A diffusion's file holds inputs, and results of the reference's loss, reverse step, trajectories and guidance. A
result's key says how to compute it: `ddim50.x_0` is where 50 steps of `ddim` end.

    uv run pytest tests/test_goldens.py --goldens DIR -rP
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import NoReturn

import numpy as np
import pytest
import torch
from diffusers.schedulers import scheduling_ddpm
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.func import functional_call

from ditbench.components import load
from ditbench.registry import Registry, pick
from ditbench.sampling.samplers import Walk, ddim
from ditbench.sampling.schedulers import ancestral, ddpm
from ditbench.tracks.guidance import Guidance
from ditbench.training.discrete import Noise

OUTPUT, INPUT_GRADIENT, GRADIENT_NORM = 1e-5, 1e-4, 1e-3  # largest relative errors of a network,
LOSS, STEP, TRAJECTORY = 1e-5, 1e-5, 1e-4  # and of a diffusion, per image
WEIGHT = 1e-6  # of guidance
NETWORK_TENSOR = re.compile(r"x|t|y|keep_ids|out|x_grad|fixed\..+")
DIFFUSION_INPUT = re.compile(r"x0|noise|t|model_out|respaced\d+\.index|xT|step_noise|power_cosine\.t")
SCHEDULE = "linear betas 1e-4..0.02, 1000 steps, epsilon prediction, learned-range variance"
NUMBER = r"(-?[\d.]+(?:e[+-]?\d+)?)"
FAKE_MODEL = re.compile(
    rf"cat\[{NUMBER}\*sqrt\(1-alpha_bar_t\)\*x\+{NUMBER}\*tanh\(x\), {NUMBER}\*tanh\(x\)\]"
    r" with t the original \(unspaced\) timestep"
)
IDDPM = Noise(learn_variance=True)
VISIBLE = Path(__file__).parent / "goldens" / "diffusion_visible.safetensors"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One test per file."""
    if "path" not in metafunc.fixturenames:
        return
    folder = Path(metafunc.config.getoption("goldens"))
    if not folder.is_dir():
        raise pytest.UsageError(f"--goldens: {folder} is no folder.")
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    if not files:
        raise pytest.UsageError(f"--goldens: {folder} holds no file.")
    metafunc.parametrize("path", files, ids=lambda path: path.relative_to(folder).as_posix())


def test_equals_reference(path: Path) -> None:
    check(path)


def check(path: Path) -> None:
    golden = Golden(path)
    if "architecture" in golden.metadata:
        check_network(golden)
    elif "schedule" in golden.metadata:
        check_diffusion(golden)
    else:
        golden.refuse("its metadata has neither 'architecture', as a network's, nor 'schedule', as a diffusion's")


class Golden(dict[str, Tensor]):
    """The tensors and the metadata of a file. The lack of one fails the test."""

    def __init__(self, path: Path) -> None:
        self.name = path.name
        try:
            with safe_open(path, "pt") as file:
                super().__init__({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
                self.metadata = file.metadata() or {}
        except SafetensorError as error:
            self.refuse(f"it is no safetensors file ({error})")

    def __missing__(self, name: str) -> NoReturn:
        self.refuse(f"it lacks {name!r}")

    def about(self, key: str) -> str:
        """An entry of the metadata."""
        return self.metadata.get(key) or self.refuse(f"its metadata lacks {key!r}")

    def refuse(self, why: str) -> NoReturn:
        pytest.fail(f"{self.name} is not understood: {why}.")


def check_network(golden: Golden) -> None:
    """Output, gradient of the input, and the norm of every parameter's gradient."""
    if unknown := [name for name in golden if not NETWORK_TENSOR.fullmatch(name)]:
        golden.refuse(f"a network's file has no {unknown[0]!r}")
    architecture = golden.about("architecture")
    weights = rebuild(golden, json.loads(golden.about("seeded")))
    expected_norms = json.loads(golden.about("grad_norms"))
    assert expected_norms.keys() <= weights.keys()

    record = pick("architecture", architecture, Registry.installed().architectures)
    build = load(record.build)
    reference = reference_module(build.__module__)
    spec, settings = reference.from_reference_config(json.loads(golden.about("config")), architecture)
    net = build(spec, **settings)
    converted = load(record.convert_reference)(weights)
    net.load_state_dict({name: tensor.detach() for name, tensor in converted.items()}, strict=True)

    x = golden["x"].requires_grad_()
    masking = {"keep_ids": golden["keep_ids"]} if "keep_ids" in golden else {}
    y = golden.get("y", torch.zeros(len(x), dtype=torch.int64))
    out = functional_call(net, converted, (x, golden["t"].float(), y), masking)
    names = list(expected_norms)
    gradients = torch.autograd.grad(
        (out * cotangent(golden.about("case"), out)).sum(),
        [x, *(weights[name] for name in names)],
        allow_unused=True,
    )

    errors = {
        name: abs(norm(gradient) - expected_norms[name]) / max(expected_norms[name], 1e-6)
        for name, gradient in zip(names, gradients[1:], strict=True)
    }
    worst = max(errors, key=errors.__getitem__)
    out_error, x_error = distance(out, golden["out"]), distance(gradients[0], golden["x_grad"])
    print(f"{golden.name}: output {out_error:.1e}, input gradient {x_error:.1e}, {worst} {errors[worst]:.1e}")  # -rP
    assert out_error <= OUTPUT
    assert x_error <= INPUT_GRADIENT
    assert all(error <= GRADIENT_NORM for error in errors.values()), f"{worst}: {errors[worst]}"


def reference_module(module: str) -> ModuleType:
    """`ditbench_x.reference`, which stands beside the module that builds the network."""
    return import_module(module.partition(".")[0] + ".reference")


def rebuild(golden: Golden, seeded: dict[str, list[int]]) -> dict[str, Tensor]:
    """The reference's weights: tables are in the file, the rest is noise that is seeded by the name."""
    fixed = {name.removeprefix("fixed."): table for name, table in golden.items() if name.startswith("fixed.")}
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


def check_diffusion(golden: Golden) -> None:
    errors, limits = judge_diffusion(golden)
    print(f"{golden.name}: {', '.join(f'{name} {error:.1e}' for name, error in errors.items())}")  # -rP
    wrong = [f"{name} {error:.1e}" for name, error in errors.items() if not error <= limits[name]]
    assert not wrong, f"{golden.name} differs: {', '.join(wrong)}"


def judge_diffusion(golden: Golden) -> tuple[dict[str, float], dict[str, float]]:
    """The error of every result that the file holds, and its limit."""
    if golden.about("schedule") != SCHEDULE:
        golden.refuse(f"its schedule {golden.about('schedule')!r} is not {SCHEDULE!r}")
    errors, limits = {}, {}
    for name in sorted(name for name in golden if not DIFFUSION_INPUT.fullmatch(name)):
        ours, error, limits[name] = recompute(golden, name)
        assert ours.shape == golden[name].shape, f"{golden.name}: {name} is {golden[name].shape}, not {ours.shape}"
        errors[name] = error(ours.double(), golden[name].double())
    if not errors:
        golden.refuse("it holds no result")
    return errors, limits


def recompute(golden: Golden, name: str) -> tuple[Tensor, Callable[[Tensor, Tensor], float], float]:
    """What we get for the result of this key, the error to judge it by, and that error's limit."""
    for pattern, compute, error, limit in RESULTS:
        if found := re.fullmatch(pattern, name):
            return compute(golden, *found.groups()), error, limit
    return golden.refuse(f"a diffusion's file has no {name!r}")


def corrupted(golden: Golden) -> Tensor:
    return IDDPM.corrupt(golden["x0"], golden["noise"], golden["t"].float())


def loss(golden: Golden, part: str) -> Tensor:
    compute = {"mse": Noise().loss, "vb": IDDPM.bound, "loss": IDDPM.loss}[part]
    return compute(golden["model_out"], golden["x0"], golden["noise"], golden["t"].float())


def timesteps(golden: Golden, steps: str) -> Tensor:
    return ancestral(IDDPM, int(steps)).timesteps.flip(0)  # the reference counts from the image


def reverse_step(golden: Golden, steps: str, part: str) -> Tensor:
    """The mean, log variance or predicted x_0 of a step of `ddpm` from x_t, each image at its index of the steps."""
    scheduler, index = ancestral(IDDPM, int(steps)), golden[f"respaced{steps}.index"]
    rows = zip(index.tolist(), golden["model_out"].split(1), golden["x_t"].split(1), strict=True)
    return torch.cat([step_at(scheduler, *row)[part] for row in rows])


def step_at(scheduler: scheduling_ddpm.DDPMScheduler, place: int, out: Tensor, x: Tensor) -> dict[str, Tensor]:
    with drawing(torch.zeros_like(x)):
        step = scheduler.step(out, scheduler.timesteps.flip(0)[place], x)
    v = out[:, x.shape[1] :]
    return {
        "mean": step.prev_sample,
        "log_variance": log_variance(scheduler, place, v),
        "pred_x0": step.pred_original_sample,
    }


def log_variance(scheduler: scheduling_ddpm.DDPMScheduler, place: int, v: Tensor) -> Tensor:
    """Of the noise that `step` adds. To x_0 it adds none: there the reference states the lower bound of the next t."""
    times = scheduler.timesteps.flip(0)
    if place:
        return scheduler._get_variance(times[place], predicted_variance=v)
    least = scheduler._get_variance(times[1], predicted_variance=-1.0)
    most = scheduler._get_variance(times[0], predicted_variance=1.0)
    share = (v + 1) / 2
    return share * most + (1 - share) * least


def trajectory(golden: Golden, sampler: str, steps: str) -> Tensor:
    walk = Walk(fake_model(golden), IDDPM, golden["xT"], int(steps), list)
    with drawing(golden["step_noise"]):
        return {"ddpm": ddpm, "ddim": ddim}[sampler](walk)


def fake_model(golden: Golden) -> Callable[[Tensor, Tensor], Tensor]:
    """The analytic denoiser that the metadata states."""
    formula = golden.about("fake_model")
    found = FAKE_MODEL.fullmatch(formula) or golden.refuse(f"its fake_model is {formula!r}")
    linear, bent, variance = map(float, found.groups())

    def denoise(x: Tensor, t: Tensor) -> Tensor:
        rest = (1 - IDDPM.alpha_bars[int(t)]).sqrt()
        return torch.cat([linear * rest * x + bent * x.tanh(), variance * x.tanh()], dim=1)

    return denoise


@contextmanager
def drawing(noise: Tensor) -> Iterator[None]:
    """Let diffusers' scheduler draw this noise at every step."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scheduling_ddpm, "randn_tensor", lambda *_, **__: noise)
        yield


def power_cosine(golden: Golden, scale: str, power: str) -> Tensor:
    guidance = Guidance(scale=float(scale), schedule="power-cosine", power=float(power))
    return torch.tensor([guidance.weight(t) for t in golden["power_cosine.t"].tolist()], dtype=torch.float64)


def per_image(ours: Tensor, theirs: Tensor) -> float:
    """The largest relative error of an image."""
    gaps, sizes = ((x.flatten(1) if x.ndim > 1 else x[:, None]).norm(dim=1) for x in (ours - theirs, theirs))
    return (gaps / sizes).max().item()


def absolute(ours: Tensor, theirs: Tensor) -> float:
    return (ours - theirs).abs().max().item()


RESULTS: list[tuple[str, Callable[..., Tensor], Callable[[Tensor, Tensor], float], float]] = [
    (r"x_t", corrupted, per_image, LOSS),
    (r"(mse|vb|loss)", loss, per_image, LOSS),
    (r"respaced(\d+)\.timesteps", timesteps, absolute, 0),
    (r"respaced(\d+)\.(mean|log_variance|pred_x0)", reverse_step, per_image, STEP),
    (r"(ddpm|ddim)(\d+)\.x_0", trajectory, per_image, TRAJECTORY),
    (rf"power_cosine\.scale{NUMBER}\.pow{NUMBER}", power_cosine, absolute, WEIGHT),
]


@pytest.mark.parametrize("name", sorted(load_file(VISIBLE)))
def test_every_tensor_of_a_diffusion_matters(name: str) -> None:
    golden = Golden(VISIBLE)
    golden[name] = golden[name] + 1e-2 if golden[name].is_floating_point() else golden[name].roll(1)
    errors, limits = judge_diffusion(golden)
    assert any(error > limits[result] for result, error in errors.items())


@pytest.mark.parametrize(
    ("names", "metadata", "why"),
    [
        ("x out", {}, "its metadata has neither 'architecture', as a network's, nor 'schedule'"),
        ("x surprise", {"architecture": "dit"}, "a network's file has no 'surprise'"),
        ("x out", {"architecture": "dit"}, "its metadata lacks 'seeded'"),
        ("t", {"schedule": "cosine"}, "its schedule 'cosine' is not 'linear betas"),
        ("t", {"schedule": SCHEDULE}, "it holds no result"),
        ("t surprise", {"schedule": SCHEDULE}, "a diffusion's file has no 'surprise'"),
        ("mse", {"schedule": SCHEDULE}, "it lacks 'model_out'"),
        ("ddim9.x_0 xT", {"schedule": SCHEDULE}, "its metadata lacks 'fake_model'"),
        ("ddim9.x_0 xT", {"schedule": SCHEDULE, "fake_model": "x"}, "its fake_model is 'x'"),
    ],
)
def test_a_file_that_is_not_understood(tmp_path: Path, names: str, metadata: dict[str, str], why: str) -> None:
    save_file({name: torch.ones(1) for name in names.split()}, tmp_path / "odd.safetensors", metadata)
    with pytest.raises(pytest.fail.Exception, match=rf"odd\.safetensors is not understood: {why}"):
        check(tmp_path / "odd.safetensors")


def test_a_file_that_is_no_safetensors_file(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("These are no tensors.")
    with pytest.raises(pytest.fail.Exception, match=r"notes\.txt is not understood: it is no safetensors file"):
        check(tmp_path / "notes.txt")
