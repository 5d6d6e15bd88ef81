"""Network parts that are identical in several papers. What a paper claims as new stays in its plugin.

Numerics are frozen: the goldens of every reference plugin rest on them.

Letters in shapes: N images, T tokens, D width, H heads, C channels, P patch size, G tokens per side.
Sources: DiT (arXiv:2212.09748), ViT (arXiv:2010.11929), Swin (arXiv:2103.14030), BEiT (arXiv:2106.08254),
RoFormer (arXiv:2104.09864), RMSNorm (arXiv:1910.07467), GLU variants (arXiv:2002.05202), ViT-22B (arXiv:2302.05442).
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from .errors import BadValue


def timestep_embedding(t: Tensor, width: int, max_period: float = 10_000.0) -> Tensor:
    """Sinusoids of t (N,), cosines first: (N, width), float32. Same in DiT, U-ViT, MDT and DiffiT."""
    half = width // 2
    frequencies = torch.exp(-math.log(max_period) * torch.arange(half, dtype=torch.float32, device=t.device) / half)
    angles = t.float()[:, None] * frequencies[None]
    embedding = torch.cat([angles.cos(), angles.sin()], dim=-1)
    return F.pad(embedding, (0, width % 2))


def sincos_axis(width: int, count: int) -> Tensor:
    """The fixed sine-cosine table of positions along one axis, sines first: (count, width), float64."""
    frequencies = 1.0 / 10_000 ** (torch.arange(width // 2, dtype=torch.float64) / (width / 2.0))
    angles = torch.arange(count, dtype=torch.float64)[:, None] * frequencies[None]
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def sincos_positions(width: int, grid: int) -> Tensor:
    """The fixed 2-D sine-cosine table of a grid x grid field of tokens: (1, grid * grid, width).

    The first half of the width encodes the column, the second half the row; in each, sines come first.
    Computed in float64, as in the papers' code, then rounded once.
    """
    axis = sincos_axis(width // 2, grid)  # (G, D/2)
    columns = axis[None, :, :].expand(grid, grid, -1)
    rows = axis[:, None, :].expand(grid, grid, -1)
    return torch.cat([columns, rows], dim=-1).reshape(1, grid * grid, width).float()


class PatchEmbed(nn.Module):
    """Cut an image into P x P patches and map each linearly: (N, C, G*P, G*P) -> (N, T, D), contiguous.

    Sums of tokens keep the layout that these have, through all blocks, and each norm would copy another one.
    """

    def __init__(self, channels: int, patch: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(channels, width, kernel_size=patch, stride=patch)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x).flatten(2).transpose(1, 2).contiguous()  # type: ignore[no-any-return]


def unpatchify(tokens: Tensor, channels: int, patch: int) -> Tensor:
    """Lay tokens (N, T, P*P*C) back out as an image (N, C, G*P, G*P)."""
    n, count, _ = tokens.shape
    grid = math.isqrt(count)
    tokens = tokens.reshape(n, grid, grid, patch, patch, channels)
    return torch.einsum("nhwpqc->nchpwq", tokens).reshape(n, channels, grid * patch, grid * patch)


def plain_norm(width: int) -> nn.LayerNorm:
    """The layer norm of DiT, MDT and DiffiT: without weights."""
    return nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)


class RMSNorm(nn.RMSNorm):
    """x / root mean square of x, times a learned scale: (..., D) -> (..., D).

    Computed in the scale's type, as autocast does with layer norm; this norm it does not know.
    """

    def __init__(self, width: int) -> None:
        super().__init__(width, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.to(self.weight.dtype))


class TimestepEmbedder(nn.Module):
    """t (N,) -> sinusoids -> two-layer MLP -> (N, D).

    With `unit`, the sinusoids see 1 - t / 1000, from 0 (noise) to 1 (the image): the time of SiT and its kin, for which
    their weights are published. Sinusoids of the usual period hardly tell two such times apart.
    """

    def __init__(self, width: int, frequencies: int = 256, *, unit: bool = False, max_period: float = 10_000.0) -> None:
        super().__init__()
        self.frequencies, self.unit, self.max_period = frequencies, unit, max_period
        self.mlp = nn.Sequential(nn.Linear(frequencies, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, t: Tensor) -> Tensor:
        time = 1 - t.float() / 1000 if self.unit else t
        embedding = timestep_embedding(time, self.frequencies, self.max_period)
        embedding = embedding.to(self.mlp[0].weight.dtype)  # type: ignore[arg-type]
        return self.mlp(embedding)  # type: ignore[no-any-return]


class LabelEmbedder(nn.Module):
    """y (N,) in [0, classes] -> (N, D); the last row of the table is the null label."""

    def __init__(self, classes: int, width: int) -> None:
        super().__init__()
        self.embedding_table = nn.Embedding(classes + 1, width)

    def forward(self, y: Tensor) -> Tensor:
        return self.embedding_table(y)  # type: ignore[no-any-return]


class Mlp(nn.Module):
    """Linear, GELU, Linear. DiT and its kin use the tanh form of GELU, U-ViT the exact one."""

    def __init__(self, width: int, ratio: float = 4.0, approximate: str = "tanh") -> None:
        super().__init__()
        hidden = int(width * ratio)
        self.fc1 = nn.Linear(width, hidden)
        self.act = nn.GELU(approximate=approximate)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.act(self.fc1(x)))  # type: ignore[no-any-return]


class SwiGLU(nn.Module):
    """Linear(SiLU(gate) * value), gate and value from one Linear: (N, T, D) -> (N, T, D).

    Two thirds as wide as an `Mlp` of that ratio, so that three matrices cost what its two do.
    """

    def __init__(self, width: int, ratio: float = 4.0, *, bias: bool = True, dropout: float = 0.0) -> None:
        super().__init__()
        hidden = int(2 / 3 * int(width * ratio))
        self.w12 = nn.Linear(width, 2 * hidden, bias=bias)
        self.drop = dropout_of(dropout)
        self.w3 = nn.Linear(hidden, width, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        gate, value = self.w12(x).chunk(2, dim=-1)
        return self.w3(self.drop(F.silu(gate) * value))  # type: ignore[no-any-return]


def dropout_of(rate: float) -> nn.Module:
    """Dropout, or at rate 0 nothing at all: no random number is drawn."""
    return nn.Dropout(rate) if rate else nn.Identity()


def attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
    """softmax(q k^T / sqrt(d) + bias) v for q, k, v (N, H, T, d); bias broadcasts to (N, H, T, T).

    The fused kernel, except where a bias that is being learned would silently drop it to the slow path
    (CPU): there the explicit product is as fast and compiles better.
    """
    if bias is None:
        return F.scaled_dot_product_attention(q, k, v)
    if q.is_cuda or not bias.requires_grad:
        mask = bias.to(q.dtype)  # the fused kernels want 4 dimensions: with 3 they silently turn 5 times slower
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask if mask.dim() == 4 else mask[None])
    scores: Tensor = (q * q.shape[-1] ** -0.5) @ k.transpose(-2, -1)
    weights = (scores + bias.to(scores.dtype)).softmax(dim=-1).to(v.dtype)
    return weights @ v


def split_heads(qkv: Tensor, heads: int) -> tuple[Tensor, Tensor, Tensor]:
    """(N, T, 3*D) -> q, k, v, each (N, H, T, D/H).

    First parted, then turned: so the gradient is copied once, not twice.
    """
    n, count, triple = qkv.shape
    q, k, v = qkv.reshape(n, count, 3, heads, triple // (3 * heads)).unbind(2)
    return q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)


def merge_heads(x: Tensor) -> Tensor:
    """(N, H, T, d) -> (N, T, H*d)."""
    return x.transpose(1, 2).flatten(2)


class Attention(nn.Module):
    """Multi-head self-attention: (N, T, D) -> (N, T, D).

    If given: `qk_norm` makes the norms of q and k from a head's width (ViT-22B), `bias` is added to the scaled logits,
    `rope` turns q and k (see `rotate`), and outputs are dropped in training.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        qkv_bias: bool = True,
        *,
        qk_norm: Callable[[int], nn.Module] | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=qkv_bias)
        self.q_norm = qk_norm(width // heads) if qk_norm else nn.Identity()
        self.k_norm = qk_norm(width // heads) if qk_norm else nn.Identity()
        self.proj = nn.Linear(width, width)
        self.drop = dropout_of(dropout)

    def forward(self, x: Tensor, bias: Tensor | None = None, rope: Tensor | None = None) -> Tensor:
        q, k, v = split_heads(self.qkv(x), self.heads)
        q, k = self.q_norm(q), self.k_norm(k)
        if rope is not None:
            q, k = rotate(q, rope), rotate(k, rope)
        return self.drop(self.proj(merge_heads(attend(q, k, v, bias))))  # type: ignore[no-any-return]


def axial_rope(name: str, positions: Tensor, head_width: int) -> Tensor:
    """By how much the tokens of a square turn the pairs of a head, as cosines and sines: (2, T, d/2), float32.

    `positions` (G,) are those of rows and of columns. The first half of the pairs turns by the row, the second by the
    column, pair i of each by the position times 10000 ** (-i / (d/4)). `BadValue` if the pairs can't be halved.
    """
    if head_width % 4:
        raise BadValue(f"{name}: a head of {head_width} channels has no rotary positions; choose a multiple of 4.")
    frequencies = 10_000.0 ** -(torch.arange(head_width // 4, dtype=torch.float64) / (head_width // 4))
    angles = positions.double()[:, None] * frequencies  # (G, d/4)
    grid = len(positions)
    rows, columns = angles[:, None].expand(grid, grid, -1), angles[None].expand(grid, grid, -1)
    both = torch.cat([rows, columns], dim=-1).flatten(0, 1)  # (T, d/2)
    return torch.stack([both.cos(), both.sin()]).float()


def rotate(x: Tensor, rope: Tensor) -> Tensor:
    """x (N, H, T, d), each pair of neighbours in d turned by its angle; rope (2, T, d/2) has cosines and sines."""
    cos, sin = rope
    first, second = x.reshape(*x.shape[:-1], -1, 2).unbind(-1)  # (N, H, T, d/2) each
    return torch.stack([first * cos - second * sin, second * cos + first * sin], dim=-1).flatten(-2).type_as(x)


def relative_position_index(grid: int) -> Tensor:
    """For tokens i, j of a grid x grid window, the row of the (2*grid-1)**2 bias table: (T, T) int64.

    Swin's numbering: (row offset + grid - 1) * (2*grid - 1) + (column offset + grid - 1).
    """
    cell = torch.arange(grid)
    rows, columns = torch.meshgrid(cell, cell, indexing="ij")
    place = torch.stack([rows.flatten(), columns.flatten()])  # (2, T)
    offset = place[:, :, None] - place[:, None, :] + grid - 1  # (2, T, T), from 0
    return offset[0] * (2 * grid - 1) + offset[1]


def position_bias(table: Tensor, index: Tensor) -> Tensor:
    """Rows of a bias table (rows, H) as attention adds them: index (T, T) -> (H, T, T), (N, T, T) -> (N, H, T, T).

    Gathered along the last axis of the transposed table: its backward pass is several times faster than an
    embedding's, and CUDA's fused attention takes a bias only if its last axis is contiguous.
    """
    bias = table.t().index_select(1, index.flatten()).view(-1, *index.shape)  # (H, ..., T, T)
    return bias.transpose(0, 1) if index.dim() == 3 else bias


def neighbourhood_mask(grid: int, kernel: int) -> Tensor:
    """Along one axis of a map of G x G tokens, whether token i (row) sees token j: (G, G) bool.

    Everyone sees a window of `kernel` tokens around it, which is shifted inwards at the borders; all of a map that is
    smaller (NATTEN's neighbourhood, arXiv:2204.07143). In the map, who is seen along both axes is seen.
    """
    kernel, cell = min(kernel, grid), torch.arange(grid)
    first = (cell - kernel // 2).clamp(0, grid - kernel)[:, None]  # of each window
    return (cell >= first) & (cell < first + kernel)


def modulate(x: Tensor, shift: Tensor | None, scale: Tensor) -> Tensor:
    """x (N, T, D) scaled by 1 + scale and shifted, both (N, D) or (N, T, D); "adaLN" in DiT, Section 3.2."""
    scaled = x * (1 + over_tokens(scale))
    return scaled if shift is None else scaled + over_tokens(shift)


def over_tokens(told: Tensor) -> Tensor:
    """What is told to an image (N, D), for all of its tokens (N, 1, D); what is told to each (N, T, D) stays."""
    return told[:, None] if told.dim() == 2 else told


class AdaLNZeroBlock(nn.Module):
    """A transformer block whose norms are shifted and scaled and whose branches are gated by c: DiT and its kin.

    "adaLN-Zero" in DiT, Section 3.2: with the modulation at zero, as it starts, the block is the identity. c is (N, D),
    or (N, T, D) if each token is told something else; `condition` is its width, if not the block's. Its parts are DiT's
    unless others are given; without `shift` the norms are scaled alone.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        mlp_ratio: float = 4.0,
        *,
        norm: Callable[[int], nn.Module] = plain_norm,
        attention: Callable[[int, int], nn.Module] = Attention,
        mlp: Callable[[int, float], nn.Module] = Mlp,
        shift: bool = True,
        condition: int | None = None,
    ) -> None:
        super().__init__()
        self.shift = shift
        self.norm1 = norm(width)
        self.attn = attention(width, heads)
        self.norm2 = norm(width)
        self.mlp = mlp(width, mlp_ratio)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(condition or width, (6 if shift else 4) * width))

    def forward(self, x: Tensor, c: Tensor, bias: Tensor | None = None, rope: Tensor | None = None) -> Tensor:
        shift1, scale1, gate1, shift2, scale2, gate2 = self.modulation(c)
        x = x + over_tokens(gate1) * self.attn(modulate(self.norm1(x), shift1, scale1), bias, rope)
        return x + over_tokens(gate2) * self.mlp(modulate(self.norm2(x), shift2, scale2))  # type: ignore[no-any-return]

    def modulation(self, c: Tensor) -> tuple[Tensor | None, Tensor, Tensor, Tensor | None, Tensor, Tensor]:
        """Shift, scale and gate of both branches, each of c's shape."""
        if self.shift:
            return self.adaLN_modulation(c).chunk(6, dim=-1)  # type: ignore[no-any-return]
        scale1, gate1, scale2, gate2 = self.adaLN_modulation(c).chunk(4, dim=-1)
        return None, scale1, gate1, None, scale2, gate2


class AdaLNHead(nn.Module):
    """The last layer of DiT and its kin: a modulated norm, then tokens (N, T, D) -> patches (N, T, P*P*C).

    `condition` is the width of c, if not that of the tokens.
    """

    def __init__(
        self,
        width: int,
        patch: int,
        channels: int,
        *,
        norm: Callable[[int], nn.Module] = plain_norm,
        condition: int | None = None,
    ) -> None:
        super().__init__()
        self.norm_final = norm(width)
        self.linear = nn.Linear(width, patch * patch * channels)
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(condition or width, 2 * width))

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        shift, scale = self.adaLN_modulation(c).chunk(2, dim=-1)  # (N, D) or (N, T, D) each
        return self.linear(modulate(self.norm_final(x), shift, scale))  # type: ignore[no-any-return]


def initialize_as_dit(net: nn.Module) -> None:
    """The start that DiT gives its network, and MDT too.

    Linears and the patch projection are Xavier-uniform without bias; the label table and the weights of
    the time MLP are N(0, 0.02); the modulation of an `AdaLNZeroBlock` or `AdaLNHead` is zero, and so is
    the head's Linear, so that the untrained network returns zero.
    """
    for module in net.modules():
        if isinstance(module, PatchEmbed):
            nn.init.xavier_uniform_(module.proj.weight.view(module.proj.out_channels, -1))
            _zero(module.proj.bias)
        elif isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            _zero(module.bias)
    for module in net.modules():
        if isinstance(module, LabelEmbedder):
            nn.init.normal_(module.embedding_table.weight, std=0.02)
        elif isinstance(module, TimestepEmbedder):
            nn.init.normal_(module.mlp[0].weight, std=0.02)  # type: ignore[arg-type]
            nn.init.normal_(module.mlp[2].weight, std=0.02)  # type: ignore[arg-type]
        elif isinstance(module, AdaLNZeroBlock):
            _zero(*module.adaLN_modulation.parameters())
        elif isinstance(module, AdaLNHead):
            _zero(*module.adaLN_modulation.parameters(), *module.linear.parameters())


def _zero(*parameters: Tensor | None) -> None:
    for parameter in parameters:
        if parameter is not None:
            nn.init.zeros_(parameter)


def run_block(block: nn.Module, *inputs: Tensor | None, checkpointing: bool) -> Tensor:
    """One block; with checkpointing its activations are recomputed in the backward pass, not kept."""
    if checkpointing and torch.is_grad_enabled():
        return checkpoint(block, *inputs, use_reentrant=False)  # type: ignore[no-any-return]
    return block(*inputs)  # type: ignore[no-any-return]


def tokens_per_side(name: str, resolution: int, patch: int) -> int:
    """The G of an architecture's G x G tokens; `BadValue` if patches don't tile the image."""
    if resolution % patch:
        raise BadValue(
            f"{name}: patch size {patch} does not divide the resolution {resolution}; choose a size whose patch does."
        )
    return resolution // patch
