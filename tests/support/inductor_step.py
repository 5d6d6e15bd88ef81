"""A training step compiled by inductor, cold and then from torch's cache: what it found, as JSON.

A program of its own: inductor imports setuptools, which changes the process for whoever comes after.
"""

import json
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]

import torch  # noqa: E402
from torch import nn  # noqa: E402
from torch._inductor import config as inductor  # noqa: E402
from toy_net import Toy  # noqa: E402
from trainers import changed, trainer  # noqa: E402

from ditbench.denoiser.interface import DIGITS_SPEC, build_denoiser, perturb  # noqa: E402
from ditbench.registry import Registry  # noqa: E402


class Blocks(Toy):
    """Few kernels: each takes the C++ compiler seconds."""

    def __init__(self, spec=DIGITS_SPEC):
        torch.manual_seed(0)
        super().__init__(spec, width=8)
        self.middle = nn.ModuleList(nn.Sequential(nn.Conv2d(8, 8, 1), nn.Tanh()) for _ in range(2))


def network(name):
    if name == "blocks":
        inductor.cpp.vec_isa_ok = False  # trying the vector units out takes as long as a kernel
        inductor.compile_threads = 1  # no pool of processes is started for them
        return Blocks()
    one = build_denoiser(Registry.installed().architectures[name])
    perturb(one)
    return one


def main(name):
    found = []
    for _ in range(2):
        torch._dynamo.reset()
        one = trainer(network(name), recipe=changed(compile="blocks"))
        losses = one.step(), trainer(network(name)).step()
        facts = one.facts()
        found.append(
            {
                "losses": losses,
                "compiled": facts.compiled,
                "seconds": facts.seconds,
                "compile_seconds": facts.compile_seconds,
                "warm_compile_seconds": facts.warm_compile_seconds,
            }
        )
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1])
