"""The toy plugin for those who kill its runs: every phase takes a while, and so does every write to the disk."""

import os
import time
from pathlib import Path

import toy
import toy_net

import ditbench
from ditbench.metrics.quality import Score

WRITE = 0.03  # seconds that a flush takes, in which the file has its temporary name
_flush = os.fsync


class Slow(toy_net.Toy):
    """A step takes 20 ms, an image's step 60."""

    def forward(self, x, t, y):
        time.sleep(0.02 if self.training else 0.06)
        return super().forward(x, t, y)


def slow_disk(descriptor):
    """As on a full or distant disk."""
    time.sleep(WRITE)
    _flush(descriptor)


def linger(fake, real):
    """A number that follows from the images, after a while, if they are many: a rehearsal's are few."""
    time.sleep(1.5 if fake.count > 40 else 0)
    return Score(float(fake.outputs["features"].double().mean()))


os.fsync = slow_disk  # wherever this plugin is loaded


@ditbench.hookimpl
def ditbench_architectures():
    return [
        ditbench.Architecture(
            name="slow", build="slow_toy:Slow", sizes=toy.ARCHITECTURE.sizes, paper="none", licence="none"
        )
    ]


@ditbench.hookimpl
def ditbench_metrics():
    return [ditbench.Metric(name="linger", measure="slow_toy:linger", higher_is_better=False, sees="features")]


@ditbench.hookimpl
def ditbench_tracks():
    return [Path(__file__).with_name("slow.toml")]
