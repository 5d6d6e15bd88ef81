"""DiT: scalable diffusion models with transformers (Peebles & Xie, 2023, arXiv:2212.09748).

Patches of the noisy image are the tokens of a ViT; Section 3.2 compares four ways to tell its blocks
the time t and the label y. adaLN-Zero won, and its parts, which other papers took over unchanged, stand
in `ditbench.layers`; the other three are here.

Letters in shapes: N images, T tokens, D width, C channels, P patch size, K condition tokens (t and y).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ditbench import DenoiserSpec
from ditbench.layers import (
    AdaLNHead,
    AdaLNZeroBlock,
    Attention,
    LabelEmbedder,
    Mlp,
    PatchEmbed,
    TimestepEmbedder,
    attend,
    initialize_as_dit,
    merge_heads,
    modulate,
    plain_norm,
    run_block,
    sincos_positions,
    tokens_per_side,
    unpatchify,
)


class AdaLNBlock(nn.Module):
    """`conditioning=adaln`: the norms are shifted and scaled by c (N, D), but no branch is gated."""

    def __init__(self, width: int, heads: int, mlp_ratio: float = 4.0) -> None:
        super().__init__()
        self.norm1 = plain_norm(width)
        self.attn = Attention(width, heads)
        self.norm2 = plain_norm(width)
        self.mlp = Mlp(width, mlp_ratio)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 4 * width))

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        shift1, scale1, shift2, scale2 = self.adaLN_modulation(c).chunk(4, dim=1)  # (N, D) each
        x = x + self.attn(modulate(self.norm1(x), shift1, scale1))
        return x + self.mlp(modulate(self.norm2(x), shift2, scale2))  # type: ignore[no-any-return]


class PlainBlock(nn.Module):
    """`conditioning=in-context`: the block of a ViT; t and y are tokens among the others."""

    def __init__(self, width: int, heads: int, mlp_ratio: float = 4.0) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = Mlp(width, mlp_ratio)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))  # type: ignore[no-any-return]


class CrossAttentionBlock(PlainBlock):
    """`conditioning=cross-attention`: after self-attention every token attends to c (N, K, D)."""

    def __init__(self, width: int, heads: int, mlp_ratio: float = 4.0) -> None:
        super().__init__(width, heads, mlp_ratio)
        self.norm_cross = nn.LayerNorm(width, eps=1e-6)
        self.cross = CrossAttention(width, heads)

    def forward(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        x = x + self.attn(self.norm1(x))
        x = x + self.cross(self.norm_cross(x), c)
        return x + self.mlp(self.norm2(x))  # type: ignore[no-any-return]


class CrossAttention(nn.Module):
    """Multi-head attention of x (N, T, D) to c (N, K, D)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(width, width)
        self.kv = nn.Linear(width, 2 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        q = self.q(x).unflatten(2, (self.heads, -1)).transpose(1, 2)  # (N, H, T, D/H)
        k, v = self.kv(c).unflatten(2, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)  # (N, H, K, D/H) each
        return self.proj(merge_heads(attend(q, k, v)))  # type: ignore[no-any-return]


class PlainHead(nn.Module):
    """The last layer where nothing is modulated: tokens (N, T, D) -> patches (N, T, P*P*C)."""

    def __init__(self, width: int, patch: int, channels: int) -> None:
        super().__init__()
        self.norm_final = nn.LayerNorm(width, eps=1e-6)
        self.linear = nn.Linear(width, patch * patch * channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.norm_final(x))  # type: ignore[no-any-return]


BLOCKS: dict[str, type[nn.Module]] = {
    "adaln-zero": AdaLNZeroBlock,
    "adaln": AdaLNBlock,
    "cross-attention": CrossAttentionBlock,
    "in-context": PlainBlock,
}


class DiT(nn.Module):
    """The denoiser, in any of the four conditionings."""

    def __init__(
        self,
        spec: DenoiserSpec,
        *,
        depth: int,
        width: int,
        heads: int,
        patch_size: int,
        mlp_ratio: float = 4.0,
        conditioning: str = "adaln-zero",
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        self.patch_size, self.out_channels = patch_size, spec.out_channels
        self.conditioning, self.checkpointing = conditioning, checkpointing
        grid = tokens_per_side("dit", spec.resolution, patch_size)

        self.x_embedder = PatchEmbed(spec.channels, patch_size, width)
        self.t_embedder = TimestepEmbedder(width)
        self.y_embedder = LabelEmbedder(spec.classes, width) if spec.classes else None
        self.pos_embed = nn.Parameter(sincos_positions(width, grid), requires_grad=False)  # (1, T, D)
        self.blocks = nn.ModuleList(BLOCKS[conditioning](width, heads, mlp_ratio) for _ in range(depth))
        head = AdaLNHead if conditioning.startswith("adaln") else PlainHead
        self.final_layer = head(width, patch_size, spec.out_channels)

        initialize_as_dit(self)
        nn.init.zeros_(self.final_layer.linear.weight)  # whatever the conditioning, the start is zero

    def forward(self, x: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        tokens = self.x_embedder(x) + self.pos_embed  # (N, T, D)
        told = [self.t_embedder(t)] if self.y_embedder is None else [self.t_embedder(t), self.y_embedder(y)]
        if self.conditioning == "in-context":
            patches = self.in_context(tokens, torch.stack(told, dim=1))
        elif self.conditioning == "cross-attention":
            patches = self.final_layer(self.run(tokens, torch.stack(told, dim=1)))
        else:
            c = torch.stack(told).sum(dim=0)  # (N, D)
            patches = self.final_layer(self.run(tokens, c), c)
        return unpatchify(patches, self.out_channels, self.patch_size)

    def in_context(self, tokens: Tensor, told: Tensor) -> Tensor:
        """Patches (N, T, P*P*C) from a sequence that the condition tokens (N, K, D) join and leave again."""
        together = self.run(torch.cat([tokens, told], dim=1))  # (N, T + K, D)
        return self.final_layer(together[:, : tokens.shape[1]])  # type: ignore[no-any-return]

    def run(self, x: Tensor, *condition: Tensor) -> Tensor:
        """All blocks, one after another."""
        for block in self.blocks:
            x = run_block(block, x, *condition, checkpointing=self.checkpointing)
        return x
