"""DiT: scalable diffusion models with transformers (Peebles & Xie, 2023, arXiv:2212.09748).

Patches of the noisy image are the tokens of a ViT; Section 3.2 compares four ways to tell its blocks
the time t and the label y. adaLN-Zero won, and its parts, which other papers took over unchanged, stand
in `ditbench.layers`; the other three are here, and a fifth, adaLN-single (PixArt, arXiv:2310.00426). In
training, tokens may be routed past the middle blocks (TREAD, arXiv:2501.04765).

Letters in shapes: N images, T tokens, D width, C channels, P patch size, K condition tokens (t and y),
R routed tokens, which the middle blocks see.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ditbench import BadValue, DenoiserSpec
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


class AdaLNSingleBlock(nn.Module):
    """`conditioning=adaln-single`: one modulation (N, 6, D) for all blocks, to which each adds a table of its own."""

    def __init__(self, width: int, heads: int, mlp_ratio: float = 4.0) -> None:
        super().__init__()
        self.norm1 = plain_norm(width)
        self.attn = Attention(width, heads)
        self.norm2 = plain_norm(width)
        self.mlp = Mlp(width, mlp_ratio)
        self.table = nn.Parameter(torch.randn(6, width) / width**0.5)

    def forward(self, x: Tensor, modulation: Tensor) -> Tensor:
        shift1, scale1, gate1, shift2, scale2, gate2 = (modulation + self.table).unbind(1)  # (N, D) each
        x = x + gate1[:, None] * self.attn(modulate(self.norm1(x), shift1, scale1))
        return x + gate2[:, None] * self.mlp(modulate(self.norm2(x), shift2, scale2))  # type: ignore[no-any-return]


class AdaLNSingleHead(nn.Module):
    """Its last layer: c (N, D) itself, plus a table, shifts and scales."""

    def __init__(self, width: int, patch: int, channels: int) -> None:
        super().__init__()
        self.norm_final = plain_norm(width)
        self.linear = nn.Linear(width, patch * patch * channels)
        self.table = nn.Parameter(torch.randn(2, width) / width**0.5)

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        shift, scale = (c[:, None] + self.table).unbind(1)  # (N, D) each
        return self.linear(modulate(self.norm_final(x), shift, scale))  # type: ignore[no-any-return]


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
    "adaln-single": AdaLNSingleBlock,
}
HEADS: dict[str, type[nn.Module]] = {
    "adaln-zero": AdaLNHead,
    "adaln": AdaLNHead,
    "cross-attention": PlainHead,
    "in-context": PlainHead,
    "adaln-single": AdaLNSingleHead,
}


class DiT(nn.Module):
    """The denoiser, in any of the five conditionings."""

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
        route: str = "none",
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        self.patch_size, self.out_channels = patch_size, spec.out_channels
        self.conditioning, self.checkpointing = conditioning, checkpointing
        self.middle = middle_blocks(depth) if route == "tread" else None
        grid = tokens_per_side("dit", spec.resolution, patch_size)

        self.x_embedder = PatchEmbed(spec.channels, patch_size, width)
        self.t_embedder = TimestepEmbedder(width)
        self.y_embedder = LabelEmbedder(spec.classes, width) if spec.classes else None
        self.pos_embed = nn.Parameter(sincos_positions(width, grid), requires_grad=False)  # (1, T, D)
        self.blocks = nn.ModuleList(BLOCKS[conditioning](width, heads, mlp_ratio) for _ in range(depth))
        self.final_layer = HEADS[conditioning](width, patch_size, spec.out_channels)
        single = conditioning == "adaln-single"
        self.modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width)) if single else None

        initialize_as_dit(self)
        nn.init.zeros_(self.final_layer.linear.weight)  # whatever the conditioning, the start is zero
        if self.modulation is not None:
            nn.init.normal_(self.modulation[1].weight, std=0.02)  # type: ignore[arg-type]

    def forward(self, x: Tensor, t: Tensor, y: Tensor | None = None, *, routed: bool = False) -> Tensor:
        """Denoise; routed: half of the tokens of each image, drawn at random, pass by the middle blocks."""
        tokens = self.x_embedder(x) + self.pos_embed  # (N, T, D)
        told = [self.t_embedder(t)] if self.y_embedder is None else [self.t_embedder(t), self.y_embedder(y)]
        if self.conditioning == "in-context":
            patches = self.in_context(tokens, torch.stack(told, dim=1), routed)
        elif self.conditioning == "cross-attention":
            patches = self.final_layer(self.run(tokens, torch.stack(told, dim=1), routed=routed))
        else:
            c = torch.stack(told).sum(dim=0)  # (N, D)
            each = c if self.modulation is None else self.modulation(c).unflatten(1, (6, -1))  # what a block is told
            patches = self.final_layer(self.run(tokens, each, routed=routed), c)
        return unpatchify(patches, self.out_channels, self.patch_size)

    def in_context(self, tokens: Tensor, told: Tensor, routed: bool) -> Tensor:
        """Patches (N, T, P*P*C) from a sequence that the condition tokens (N, K, D) join and leave again."""
        together = self.run(torch.cat([tokens, told], dim=1), routed=routed, always=told.shape[1])  # (N, T + K, D)
        return self.final_layer(together[:, : tokens.shape[1]])  # type: ignore[no-any-return]

    def run(self, x: Tensor, *condition: Tensor, routed: bool = False, always: int = 0) -> Tensor:
        """All blocks, one after another; the middle ones on the routed tokens, and on the last `always` ones."""
        if not routed or self.middle is None:
            return self.some(slice(None), x, *condition)
        x = self.some(slice(self.middle.start), x, *condition)
        places = draw_half(x, always)[:, :, None].expand(-1, -1, x.shape[2])  # (N, R, D)
        seen = self.some(self.middle, x.gather(1, places), *condition)
        return self.some(slice(self.middle.stop, None), x.scatter(1, places, seen), *condition)

    def some(self, which: slice, x: Tensor, *condition: Tensor) -> Tensor:
        """Some blocks, one after another."""
        for block in self.blocks[which]:
            x = run_block(block, x, *condition, checkpointing=self.checkpointing)
        return x

    def training_loss(self, loss: Callable[..., Tensor]) -> Tensor:
        """One pass, routed if the network was built so; at inference no token is."""
        return loss() if self.middle is None else loss(routed=True)


def middle_blocks(depth: int) -> slice:
    """Those that half of the tokens pass by: of 12 the blocks 2 to 7, counted from 0, as TREAD's configuration has it.

    Of another depth the same share, but never the first block; `BadValue` if there is no other.
    """
    if depth < 2:
        raise BadValue(f"dit: depth {depth} leaves no block for route=tread to pass by; choose 2 or more.")
    start = max(1, round(depth / 6))
    return slice(start, max(start + 1, round(depth * 2 / 3)))


def draw_half(x: Tensor, always: int) -> Tensor:
    """Of each image's tokens (N, T, D) the places of half of them at random, and of the last `always`: (N, R)."""
    free = x.shape[1] - always
    drawn = torch.rand(x.shape[0], free, device=x.device).argsort(dim=1)[:, : free // 2]
    last = torch.arange(free, x.shape[1], device=x.device).expand(x.shape[0], -1)
    return torch.cat([drawn, last], dim=1)
