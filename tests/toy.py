"""A whole plugin: an architecture that trains in a second, a track to match, and faults to order."""

from pathlib import Path

import ditbench

ARCHITECTURE = ditbench.Architecture(
    name="toy",
    build="toy_net:Toy",
    sizes={"nano": {"width": 16}, "big/2": {"width": 64}},
    options={
        "fault": ditbench.Option(
            default="none",
            choices=("none", "build", "raise", "nan", "rounding", "kill", "slow", "spare"),
            doc="what goes wrong in training: at the third step, (slow) at every step, (spare) while it is counted",
        ),
        "depth": ditbench.Option(default=1),
        "bias": ditbench.Option(default=True),
    },
    paper="none",
    licence="Apache-2.0",
)


@ditbench.hookimpl
def ditbench_architectures():
    return [ARCHITECTURE]


@ditbench.hookimpl
def ditbench_tracks():
    return [Path(__file__).with_name("tiny.toml")]
