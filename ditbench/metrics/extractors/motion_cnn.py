"""The small network of clips whose features stand in for I3D's on moving digits.

I3D knows nothing of 16x16 digits, so `fvd500/motion-cnn` compares these 64 features instead. They have to tell both
what moves and how: the network was trained to name the digit, and to tell how far the centre of light moves from each
frame to the next, on clips half of which had their frames shuffled. `train_small_cnn` makes the shipped weights.
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn
from torch.nn import functional as F

from ...datasets.pixels import from_bytes

FRAMES = 8
_CHANNELS, _POOLS = (16, 32, 48), ((1, 2, 2), (2, 2, 2), (2, 2, 2))  # of frames, height and width


class MotionCNN(nn.Module):
    """Convolutions over space and time; clips (N, 8, 1, 16, 16) uint8 in."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Conv3d(before, after, 3, padding=1) for before, after in zip((1, *_CHANNELS), _CHANNELS, strict=False)
        )
        self.hidden = nn.Linear(_CHANNELS[-1] * 2 * 2 * 2, width)
        self.head = nn.Linear(width, 10)
        self.steps = nn.Linear(width, 2 * (FRAMES - 1))

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        """``features`` (N, 64) after the last GELU, and the digits' ``logits`` (N, 10)."""
        x = from_bytes(pixels).transpose(1, 2)
        for conv, pool in zip(self.convs, _POOLS, strict=True):
            x = F.max_pool3d(F.gelu(conv(x)), pool)
        features = F.gelu(self.hidden(x.flatten(1)))
        return {"features": features, "logits": self.head(features)}

    def motion(self, features: Tensor) -> Tensor:
        """How far the centre of light moves down and right from each frame to the next, in pixels, (N, 7, 2)."""
        return self.steps(features).unflatten(1, (FRAMES - 1, 2))  # type: ignore[no-any-return]


def motion_cnn(weights: Mapping[str, Tensor] | None = None) -> MotionCNN:
    """The network of clips, with these weights or as it starts."""
    network = MotionCNN()
    if weights is not None:
        network.load_state_dict(weights)
    return network
