"""The toy plugin's network. Dropout makes it draw from the global generator, so that resume is put to the test."""

import os
import signal
import time

import torch
from torch import nn
from torch.nn import functional as F


class Toy(nn.Module):
    def __init__(self, spec, *, width, fault="none", depth=1, bias=True):
        super().__init__()
        if fault == "build":
            raise RuntimeError("no such layer")
        self.fault, self.calls = fault, 0
        self.inward = nn.Conv2d(spec.channels, width, 3, padding=1, bias=bias)
        self.middle = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(depth))
        self.label = nn.Embedding(spec.classes + 1, width)
        self.time = nn.Linear(1, width)
        self.drop = nn.Dropout(0.1)
        self.outward = nn.Conv2d(width, spec.out_channels, 3, padding=1)

    def forward(self, x, t, y):
        if self.training:
            self.misbehave()
        if self.fault == "spare" and not x.any():
            return self.outward(self.inward(x))
        h = self.inward(x) + (self.time(t[:, None] / 1000) + self.label(y))[:, :, None, None]
        for layer in self.middle:
            h = h + self.drop(layer(h.tanh()))
        out = self.outward(h.tanh())
        if self.fault == "rounding" and self.calls > 2:
            more = F.linear(torch.ones(1, 1, device=x.device), torch.full((1, 1), 1 + 2**-12, device=x.device)) - 1
            return out * more / more  # 0 in bfloat16
        return out * float("nan") if self.fault == "nan" and self.calls > 2 else out

    def misbehave(self):
        self.calls += 1
        if self.fault == "slow":
            time.sleep(0.05)
        if self.fault == "raise" and self.calls > 2:
            raise RuntimeError("the toy broke,\nas ordered")
        if self.fault == "kill" and self.calls > 2:
            os.kill(os.getpid(), signal.SIGKILL)
