"""DiT (Peebles & Xie, 2023, arXiv:2212.09748) for clips: attention among all tokens of all frames.

What networks for video that part space from time are compared with. Frames are cut into patches one by one; positions
are fixed, in time and space. All else is DiT's, and stands in `ditbench.layers`.

Letters in shapes: N clips, F frames, T tokens of a frame, D width, C channels, P patch size, G tokens per side.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ditbench import DenoiserSpec
from ditbench.layers import (
    AdaLNHead,
    AdaLNZeroBlock,
    LabelEmbedder,
    PatchEmbed,
    TimestepEmbedder,
    initialize_as_dit,
    run_block,
    sincos_axis,
    tokens_per_side,
    unpatchify,
)


class DiT3D(nn.Module):
    """The denoiser."""

    def __init__(
        self,
        spec: DenoiserSpec,
        *,
        depth: int,
        width: int,
        heads: int,
        patch_size: int,
        mlp_ratio: float = 4.0,
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        self.patch_size, self.out_channels, self.checkpointing = patch_size, spec.out_channels, checkpointing
        grid = tokens_per_side("dit3d", spec.resolution, patch_size)

        self.x_embedder = PatchEmbed(spec.channels, patch_size, width)
        self.t_embedder = TimestepEmbedder(width)
        self.y_embedder = LabelEmbedder(spec.classes, width) if spec.classes else None
        self.pos_embed = nn.Parameter(clip_positions(width, spec.frames, grid), requires_grad=False)  # (1, F*T, D)
        self.blocks = nn.ModuleList(AdaLNZeroBlock(width, heads, mlp_ratio) for _ in range(depth))
        self.final_layer = AdaLNHead(width, patch_size, spec.out_channels)
        initialize_as_dit(self)

    def forward(self, x: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        clips = x.shape[:2]  # N, F
        tokens = self.x_embedder(x.flatten(0, 1)).unflatten(0, clips).flatten(1, 2) + self.pos_embed  # (N, F*T, D)
        c = self.t_embedder(t)  # (N, D)
        if self.y_embedder is not None:
            c = c + self.y_embedder(y)
        for block in self.blocks:
            tokens = run_block(block, tokens, c, checkpointing=self.checkpointing)
        patches = self.final_layer(tokens, c).unflatten(1, (x.shape[1], -1)).flatten(0, 1)  # (N*F, T, P*P*C)
        return unpatchify(patches, self.out_channels, self.patch_size).unflatten(0, clips)


def clip_positions(width: int, frames: int, grid: int) -> Tensor:
    """The fixed sine-cosine table of a clip's tokens, frame after frame: (1, F*G*G, width).

    Three eighths of the width encode the column, three the row (each rounded down to an even number of channels), and
    the rest, a quarter, the frame.
    """
    side = 2 * (3 * width // 16)
    cells, time = sincos_axis(side, grid), sincos_axis(width - 2 * side, frames)
    columns = cells[None, None].expand(frames, grid, grid, -1)
    rows = cells[None, :, None].expand(frames, grid, grid, -1)
    moments = time[:, None, None].expand(frames, grid, grid, -1)
    return torch.cat([columns, rows, moments], dim=-1).reshape(1, -1, width).float()
