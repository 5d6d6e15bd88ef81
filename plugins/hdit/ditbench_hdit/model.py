"""HDiT: the hourglass diffusion transformer (Crowson et al., 2024, arXiv:2401.11605).

Pixels at high resolution without an autoencoder: tokens merge 2x2 on the way down and split on the way up. Where there
are many, a token attends to its neighbourhood; in the middle, where there are few, to all.

Letters in shapes: N images, T tokens, G tokens per side, D width of a level, H heads, M width of the condition,
C channels, P patch size; of a neighbourhood B tiles per side, each with S tokens per side that see R per side.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ditbench import TIME_SCALE, BadValue, DenoiserSpec
from ditbench.layers import merge_heads, neighbourhood_mask, run_block, split_heads, tokens_per_side

LOG_SIGMA = (math.log(0.002), math.log(80.0))  # of the noise levels that t = 0 and t = 1000 stand for
WIDEST_TILE = 8  # tokens per side; with a window of 7, a token is then held against 196, of which it sees 49


def rms_norm(x: Tensor, scale: Tensor) -> Tensor:
    """x over the root of its mean square along the last axis, times scale."""
    return x * (scale * (x.float().square().mean(-1, keepdim=True) + 1e-6).rsqrt())


class RMSNorm(nn.Module):
    """With a learned scale for each channel."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return rms_norm(x, self.scale)


class AdaRMSNorm(nn.Module):
    """With a scale that the condition c (N, M) makes: 1 + W c, W starting at zero; no shift, no gate."""

    def __init__(self, width: int, condition: int) -> None:
        super().__init__()
        self.linear = nn.Linear(condition, width, bias=False)
        nn.init.zeros_(self.linear.weight)

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        return rms_norm(x, self.linear(c)[:, None] + 1)


class GatedMlp(nn.Module):
    """GEGLU: half of the first Linear times the GELU of its other half, then a Linear; no biases."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.up = nn.Linear(width, 2 * hidden, bias=False)
        self.down = nn.Linear(hidden, width, bias=False)
        nn.init.zeros_(self.down.weight)

    def forward(self, x: Tensor) -> Tensor:
        value, gate = self.up(x).chunk(2, dim=-1)
        return self.down(value * F.gelu(gate))  # type: ignore[no-any-return]


class Mapping(nn.Module):
    """The condition (N, M) of time and label: the features of the time go through feed-forward layers of their own.

    The published network is told nine more numbers, of how an image was augmented. Nothing is here, so they are the
    bias of the time's Linear.
    """

    frequencies: Tensor

    def __init__(self, width: int, hidden: int, depth: int, classes: int) -> None:
        super().__init__()
        self.register_buffer("frequencies", torch.randn(width // 2))
        self.time = nn.Linear(width, width)
        self.label = nn.Embedding(classes + 1, width) if classes else None
        self.norm_in = RMSNorm(width)
        self.norms = nn.ModuleList(RMSNorm(width) for _ in range(depth))
        self.mlps = nn.ModuleList(GatedMlp(width, hidden) for _ in range(depth))
        self.norm_out = RMSNorm(width)

    def forward(self, t: Tensor, y: Tensor | None) -> Tensor:
        least, most = LOG_SIGMA
        c_noise = (least + (most - least) * t.float() / TIME_SCALE) / 4  # ln(sigma) / 4, as in EDM
        phases = 2 * math.pi * c_noise[:, None] * self.frequencies  # (N, M/2)
        x = self.time(torch.cat([phases.cos(), phases.sin()], dim=-1).to(self.time.weight.dtype))
        x = self.norm_in(x if self.label is None else x + self.label(y))
        for norm, mlp in zip(self.norms, self.mlps, strict=True):
            x = x + mlp(norm(x))
        return self.norm_out(x)  # type: ignore[no-any-return]


def rotate(x: Tensor, theta: Tensor) -> Tensor:
    """Rotate the first half of each head by the angles theta (H, T, d/4): x (N, H, T, d) -> the same."""
    quarter = theta.shape[-1]
    one, other, rest = x[..., :quarter], x[..., quarter : 2 * quarter], x[..., 2 * quarter :]
    cos, sin = theta.cos().to(x.dtype), theta.sin().to(x.dtype)
    return torch.cat([one * cos - other * sin, other * cos + one * sin, rest], dim=-1)


def rope_frequencies(heads: int, head_width: int) -> Tensor:
    """From pi to 10 pi in equal steps of their logarithm, dealt out to the heads: (H, d/8), the same for both axes."""
    each = head_width // 8
    steps = torch.arange(heads * each, dtype=torch.float32) / (heads * each)
    return (math.log(math.pi) + steps * math.log(10.0)).exp().view(each, heads).t().contiguous()


def places(grid: int) -> Tensor:
    """The centres of G x G tokens in a square from -1 to 1: (T, 2), row and column."""
    centres = (2 * torch.arange(grid, dtype=torch.float32) + 1) / grid - 1
    return torch.stack(torch.meshgrid(centres, centres, indexing="ij"), dim=-1).flatten(0, 1)


class Neighbourhood(nn.Module):
    """Attention of each token to the kernel x kernel tokens around it, without a kernel of its own.

    The map is cut into tiles. All that the tokens of a tile may see lies in one region, which is gathered; within it,
    each sees its own window by a mask. So the cost grows with the tokens, not with their square.
    """

    region: Tensor
    mask: Tensor

    def __init__(self, grid: int, kernel: int) -> None:
        super().__init__()
        side = max(size for size in range(1, WIDEST_TILE + 1) if grid % size == 0)
        width = min(side + kernel - 1, grid)
        side = grid if width == grid else side  # a region that is the whole map needs no tiles
        corner = torch.arange(0, grid, side)  # (B,)
        first = (corner - kernel // 2).clamp(0, grid - width)
        region = first[:, None] + torch.arange(width)  # (B, R), along one axis
        own = corner[:, None] + torch.arange(side)  # (B, S)
        seen = neighbourhood_mask(grid, kernel)[own[:, :, None], region[:, None, :]]  # (B, S, R)
        both = seen[:, None, :, None, :, None] & seen[None, :, None, :, None, :]  # (B, B, S, S, R, R)
        self.register_buffer("region", region, persistent=False)
        self.register_buffer("mask", both.reshape(len(corner) ** 2, side**2, width**2), persistent=False)

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """All (N, H, T, d)."""
        heads, width = q.shape[1], q.shape[3]
        tiles, grid = len(self.region), math.isqrt(q.shape[2])
        if tiles == 1:
            return F.scaled_dot_product_attention(q, k, v, attn_mask=self.mask[None], scale=1.0)
        own = q.unflatten(2, (tiles, grid // tiles, tiles, grid // tiles))  # (N, H, B, S, B, S, d)
        mask = self.mask.repeat(heads, 1, 1)[None]  # (1, H*B*B, S*S, R*R)
        out = F.scaled_dot_product_attention(
            in_tiles(own), in_tiles(self.around(k)), in_tiles(self.around(v)), attn_mask=mask, scale=1.0
        )
        side = grid // tiles
        out = out.unflatten(2, (side, side)).unflatten(1, (heads, tiles, tiles))  # (N, H, B, B, S, S, d)
        return out.transpose(3, 4).reshape(-1, heads, grid**2, width)

    def around(self, x: Tensor) -> Tensor:
        """The regions of x (N, H, T, d): (N, H, B, R, B, R, d)."""
        grid = math.isqrt(x.shape[2])
        x = x.unflatten(2, (grid, grid)).index_select(2, self.region.flatten())
        x = x.index_select(3, self.region.flatten())
        return x.unflatten(3, self.region.shape).unflatten(2, self.region.shape)


def in_tiles(x: Tensor) -> Tensor:
    """(N, H, B, S, B, S, d) -> (N, H*B*B, S*S, d): to attention, each tile is a head."""
    return x.transpose(3, 4).flatten(4, 5).flatten(1, 3)


class Attention(nn.Module):
    """Cosine attention with one learned scale per head and axial RoPE, of all tokens or of neighbourhoods."""

    frequencies: Tensor

    def __init__(self, width: int, head_width: int, nearby: Neighbourhood | None) -> None:
        super().__init__()
        self.heads = width // head_width
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.scale = nn.Parameter(torch.full((self.heads,), 10.0))
        self.register_buffer("frequencies", rope_frequencies(self.heads, head_width))
        self.proj = nn.Linear(width, width, bias=False)
        self.nearby = nearby
        nn.init.zeros_(self.proj.weight)

    def forward(self, x: Tensor, position: Tensor) -> Tensor:
        """x (N, T, D), position (T, 2)."""
        q, k, v = split_heads(self.qkv(x), self.heads)
        angles = position[None, :, :, None] * self.frequencies[:, None, None, :]  # (H, T, 2, d/8)
        theta = angles.flatten(2)  # (H, T, d/4)
        q, k = (rotate(self.to_length(one), theta).to(v.dtype) for one in (q, k))
        if self.nearby is not None:
            return self.proj(merge_heads(self.nearby(q, k, v)))  # type: ignore[no-any-return]
        return self.proj(merge_heads(F.scaled_dot_product_attention(q, k, v, scale=1.0)))  # type: ignore[no-any-return]

    def to_length(self, x: Tensor) -> Tensor:
        """Vectors of length sqrt(scale): the logits are then scale times the cosine."""
        squares = x.float().square().sum(-1, keepdim=True)
        return x * (self.scale.sqrt()[:, None, None] * (squares + 1e-6).rsqrt())


class Block(nn.Module):
    """x = x + attention(norm(x, c)); x = x + mlp(norm(x, c))."""

    def __init__(self, width: int, hidden: int, head_width: int, condition: int, nearby: Neighbourhood | None) -> None:
        super().__init__()
        self.norm1 = AdaRMSNorm(width, condition)
        self.attn = Attention(width, head_width, nearby)
        self.norm2 = AdaRMSNorm(width, condition)
        self.mlp = GatedMlp(width, hidden)

    def forward(self, x: Tensor, c: Tensor, position: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x, c), position)
        return x + self.mlp(self.norm2(x, c))  # type: ignore[no-any-return]


class Skip(nn.Module):
    """Joins what a level gave on the way down with what comes up: by a learned share, as a sum, or side by side."""

    def __init__(self, width: int, how: str) -> None:
        super().__init__()
        self.how = how
        self.share = nn.Parameter(torch.tensor([0.5])) if how == "lerp" else None
        self.linear = nn.Linear(2 * width, width, bias=False) if how == "concat" else None

    def forward(self, skip: Tensor, up: Tensor) -> Tensor:
        if self.linear is not None:
            return self.linear(torch.cat([skip, up.to(skip.dtype)], dim=-1))  # type: ignore[no-any-return]
        return skip + up if self.share is None else skip + self.share * (up - skip)


def merge(x: Tensor, grid: int, factor: int) -> Tensor:
    """Lay factor x factor tokens of a G x G map side by side: (N, T, D) -> (N, T / factor**2, factor**2 * D)."""
    x = x.unflatten(1, (grid // factor, factor, grid // factor, factor)).transpose(2, 3)
    return x.flatten(3).flatten(1, 2)


def split(x: Tensor, grid: int, factor: int) -> Tensor:
    """The reverse, of a G x G map: (N, T, factor**2 * D) -> (N, factor**2 * T, D)."""
    x = x.unflatten(2, (factor, factor, -1)).unflatten(1, (grid, grid)).transpose(2, 3)
    return x.flatten(1, 4)


class HDiT(nn.Module):
    """The denoiser. `widths`, `depths`, `hiddens`, `kernels`, `head_widths`: a number for each level, the finest first.

    The last level is the middle; all others stand twice, going down and going up. Kernel 0: attention to all tokens.
    """

    def __init__(
        self,
        spec: DenoiserSpec,
        *,
        patch_size: int,
        widths: str,
        depths: str,
        hiddens: str,
        kernels: str,
        head_widths: str,
        mapping_width: int,
        mapping_hidden: int,
        mapping_depth: int = 2,
        skip: str = "lerp",
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        levels = levels_of(widths, depths, hiddens, kernels, head_widths)
        wide = [width for width, *_ in levels]
        self.patch_size, self.channels, self.checkpointing = patch_size, spec.out_channels, checkpointing
        self.grid = tokens_per_side("hdit", spec.resolution, patch_size)
        if self.grid % 2 ** (len(levels) - 1):
            raise BadValue(
                f"hdit: {self.grid} x {self.grid} tokens can't be halved {len(levels) - 1} times; "
                "choose another size or resolution."
            )

        def stage(level: int) -> nn.ModuleList:
            width, depth, hidden, kernel, head_width = levels[level]
            grid = self.grid >> level
            nearby = Neighbourhood(grid, kernel) if kernel else None
            blocks = (Block(width, hidden, head_width, mapping_width, nearby) for _ in range(depth))
            return nn.ModuleList(blocks)

        self.mapping = Mapping(mapping_width, mapping_hidden, mapping_depth, spec.classes)
        self.patch_in = nn.Linear(patch_size**2 * spec.channels, wide[0], bias=False)
        outer = range(len(levels) - 1)
        self.down = nn.ModuleList(map(stage, outer))
        self.merges = nn.ModuleList(nn.Linear(4 * wide[i], wide[i + 1], bias=False) for i in outer)
        self.middle = stage(len(levels) - 1)
        self.splits = nn.ModuleList(nn.Linear(wide[i + 1], 4 * wide[i], bias=False) for i in outer)
        self.skips = nn.ModuleList(Skip(wide[i], skip) for i in outer)
        self.up = nn.ModuleList(map(stage, outer))
        self.norm = RMSNorm(wide[0])
        self.patch_out = nn.Linear(wide[0], patch_size**2 * spec.out_channels, bias=False)
        nn.init.zeros_(self.patch_out.weight)
        for level in range(len(levels)):
            self.register_buffer(f"position{level}", places(self.grid >> level), persistent=False)

    def forward(self, x: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        c = self.mapping(t, y)
        pixels = x.movedim(1, -1).flatten(1, 2)  # (N, pixels, C)
        x = self.patch_in(merge(pixels, self.grid * self.patch_size, self.patch_size))
        skips: list[Tensor] = []
        for level, (stage, linear) in enumerate(zip(self.down, self.merges, strict=True)):
            x = self.run(stage, level, x, c)
            skips.append(x)
            x = linear(merge(x, self.grid >> level, 2))
        x = self.run(self.middle, len(skips), x, c)
        for level in reversed(range(len(skips))):
            up = split(self.splits[level](x), self.grid >> (level + 1), 2)
            x = self.run(self.up[level], level, self.skips[level](skips[level], up), c)
        pixels = split(self.patch_out(self.norm(x)), self.grid, self.patch_size)
        return pixels.transpose(1, 2).unflatten(2, (self.grid * self.patch_size, -1))

    def run(self, blocks: nn.Module, level: int, x: Tensor, c: Tensor) -> Tensor:
        """All blocks of a stage, one after another."""
        position = self.get_buffer(f"position{level}")
        for block in blocks:  # type: ignore[attr-defined]
            x = run_block(block, x, c, position, checkpointing=self.checkpointing)
        return x


def numbers(text: str) -> list[int]:
    """ "384,768" -> [384, 768]."""
    return [int(number) for number in text.split(",")]


def levels_of(widths: str, depths: str, hiddens: str, kernels: str, head_widths: str) -> list[tuple[int, ...]]:
    """By level: width, depth, hidden width, kernel, head width. `BadValue` if they don't fit together."""
    lists = {"widths": widths, "depths": depths, "hiddens": hiddens, "kernels": kernels, "head_widths": head_widths}
    for name, text in lists.items():
        if text.count(",") != widths.count(","):
            raise BadValue(f"hdit: {name} {text} are not of as many levels as widths {widths}; name as many.")
    levels = list(zip(*map(numbers, lists.values()), strict=True))
    for width, _, _, kernel, head_width in levels:
        if head_width % 8 or width % head_width:
            raise BadValue(f"hdit: width {width} does not split into heads of {head_width}, a multiple of 8.")
        if kernel and not kernel % 2:
            raise BadValue(f"hdit: a neighbourhood of {kernel} tokens has no middle; choose an odd one, or 0 for all.")
    return levels
