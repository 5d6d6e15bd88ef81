"""DiffiT: diffusion vision transformers (Hatamizadeh et al., 2024, arXiv:2312.02139).

Time-dependent multi-head self-attention (TMSA) is the paper's idea: time shapes queries, keys and values.
`LatentDiffiT` is the isotropic model for latents, `ImageDiffiT` the U-shaped one for pixels.

Letters in shapes: N images, W windows per image, T tokens per window, D width, H heads, C channels.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ditbench import BadValue, DenoiserSpec
from ditbench.layers import (
    LabelEmbedder,
    Mlp,
    PatchEmbed,
    TimestepEmbedder,
    attend,
    initialize_as_dit,
    merge_heads,
    plain_norm,
    position_bias,
    relative_position_index,
    run_block,
    sincos_positions,
    split_heads,
    tokens_per_side,
    unpatchify,
)

from . import SIZES


class TimeAttention(nn.Module):
    """Self-attention within windows, with a relative position bias, that knows the time.

    `time=tmsa`: q = x W_qs + c W_qt, and likewise k and v (Equations 3 to 5). `time=bias`: c shifts the
    bias table. `time=token`: c is one more token to attend to.
    """

    def __init__(self, width: int, heads: int, window: int, time_width: int, time: str) -> None:
        super().__init__()
        self.heads, self.time = heads, time
        rows = (2 * window - 1) ** 2
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.relative_position_bias_table = nn.Parameter(torch.empty(rows, heads))
        if time == "tmsa":
            self.qkv_temb = nn.Linear(time_width, 3 * width)
        elif time == "bias":
            self.bias_temb = nn.Linear(time_width, rows * heads)
        elif time == "token":
            self.token = nn.Linear(time_width, width)

    def forward(self, x: Tensor, c: Tensor, index: Tensor) -> Tensor:
        n, windows, count, width = x.shape
        if self.time == "token":
            token = self.token(c)[:, None, None].expand(n, windows, 1, width)
            x = torch.cat([x, token.to(x.dtype)], dim=2)
        qkv = self.qkv(x)  # (N, W, T, 3*D)
        if self.time == "tmsa":
            qkv = qkv + self.qkv_temb(c)[:, None, None]
        q, k, v = split_heads(qkv.flatten(0, 1), self.heads)  # (N*W, H, T, d) each
        out = merge_heads(attend(q[:, :, :count], k, v, self.bias(c, index, windows)))
        return self.proj(out).reshape(n, windows, count, width)  # type: ignore[no-any-return]

    def bias(self, c: Tensor, index: Tensor, windows: int) -> Tensor:
        """The bias of the logits, gathered from the table: (H, T, T), per image if it depends on time."""
        table = self.relative_position_bias_table
        if self.time == "bias":
            moved: Tensor = table.t() + self.bias_temb(c).unflatten(1, (-1, len(table)))  # (N, H, rows)
            biases = moved.index_select(2, index.flatten()).unflatten(2, index.shape)  # (N, H, T, T)
            return biases.repeat_interleave(windows, dim=0)
        bias = position_bias(table, index)
        return F.pad(bias, (0, 1)) if self.time == "token" else bias  # the time is nowhere: bias 0


class TimeMlp(Mlp):
    """`time=mlp`: the first layer sees the time as TMSA's projections do, x W_s + c W_t."""

    def __init__(self, width: int, ratio: float, time_width: int) -> None:
        super().__init__(width, ratio)
        self.fc1_temb = nn.Linear(time_width, self.fc1.out_features)

    def forward(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        hidden = self.fc1(x) + self.fc1_temb(c)[:, None, None]
        return self.fc2(self.act(hidden))  # type: ignore[no-any-return]


class Block(nn.Module):
    """Equations 7 and 8: x = TMSA(LN(x), c) + x; x = MLP(LN(x)) + x. No modulation, no gates."""

    def __init__(self, width: int, heads: int, window: int, time_width: int, time: str, mlp_ratio: float = 4.0) -> None:
        super().__init__()
        self.norm1 = plain_norm(width)
        self.attn = TimeAttention(width, heads, window, time_width, time)
        self.norm2 = plain_norm(width)
        self.mlp = TimeMlp(width, mlp_ratio, time_width) if time == "mlp" else Mlp(width, mlp_ratio)

    def forward(self, x: Tensor, c: Tensor, index: Tensor) -> Tensor:
        """x (N, W, T, D), c (N, time width), index (T, T) into the bias table."""
        x = x + self.attn(self.norm1(x), c, index)
        h = self.norm2(x)
        return x + (self.mlp(h, c) if isinstance(self.mlp, TimeMlp) else self.mlp(h))  # type: ignore[no-any-return]


class Denoiser(nn.Module):
    """What both models share: the time token, made of time and label."""

    def __init__(self, spec: DenoiserSpec, time_width: int) -> None:
        super().__init__()
        self.t_embedder = TimestepEmbedder(time_width)
        self.y_embedder = LabelEmbedder(spec.classes, time_width) if spec.classes else None

    def condition(self, t: Tensor, y: Tensor | None) -> Tensor:
        """The time token, with the label added: (N, time width)."""
        c: Tensor = self.t_embedder(t)
        return c if self.y_embedder is None else c + self.y_embedder(y)


class FinalLayer(nn.Module):
    """The latent model's head: LN, SiLU, Linear."""

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        self.norm = plain_norm(width)
        self.linear = nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(F.silu(self.norm(x)))  # type: ignore[no-any-return]


class LatentDiffiT(Denoiser):
    """The isotropic model: one window spans the whole latent."""

    pos_embed: Tensor
    index: Tensor

    def __init__(
        self,
        spec: DenoiserSpec,
        *,
        depth: int,
        width: int,
        heads: int,
        patch_size: int,
        mlp_ratio: float = 4.0,
        time: str = "tmsa",
        checkpointing: bool = False,
    ) -> None:
        super().__init__(spec, width)
        self.checkpointing = checkpointing
        grid = tokens_per_side("diffit", spec.resolution, patch_size)
        self.out_channels, self.patch_size = spec.out_channels, patch_size
        self.x_embedder = PatchEmbed(spec.channels, patch_size, width)
        self.register_buffer("pos_embed", sincos_positions(width, grid))
        self.register_buffer("index", relative_position_index(grid), persistent=False)
        self.blocks = nn.ModuleList(Block(width, heads, grid, width, time, mlp_ratio) for _ in range(depth))
        self.final_layer = FinalLayer(width, patch_size**2 * spec.out_channels)
        init_weights(self, self.final_layer.linear)

    def forward(self, x: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        c = self.condition(t, y)
        tokens = (self.x_embedder(x) + self.pos_embed)[:, None]  # (N, 1, T, D)
        for block in self.blocks:
            tokens = run_block(block, tokens, c, self.index, checkpointing=self.checkpointing)
        return unpatchify(self.final_layer(tokens[:, 0]), self.out_channels, self.patch_size)


class ResBlock(nn.Module):
    """Equations 9 and 10: h = Conv3x3(Swish(GN(x))); x = Block(h, c) + x, the block within windows."""

    def __init__(self, inputs: int, width: int, *, head_width: int, window: int, time_width: int, time: str) -> None:
        super().__init__()
        self.window = window
        self.norm = group_norm(inputs)
        self.conv = nn.Conv2d(inputs, width, 3, padding=1)
        self.block = Block(width, width // head_width, window, time_width, time)
        self.shortcut = nn.Identity() if inputs == width else nn.Conv2d(inputs, width, 1)

    def forward(self, x: Tensor, c: Tensor, index: Tensor) -> Tensor:
        """x (N, inputs, size, size) -> (N, D, size, size)."""
        h = self.conv(F.silu(self.norm(x)))
        windows = self.block(to_windows(h, self.window), c, index)
        return self.shortcut(x) + from_windows(windows, h.shape[-1])  # type: ignore[no-any-return]


def group_norm(width: int) -> nn.GroupNorm:
    """32 groups, or fewer where they would hold less than four channels each."""
    return nn.GroupNorm(math.gcd(32, width // 4), width)


def to_windows(x: Tensor, window: int) -> Tensor:
    """Cut a map (N, D, size, size) into windows of tokens, without shifting: (N, W, T, D).

    Channels go last first, and `from_windows` leaves them there: a map that is one window costs no copy.
    """
    n, width, size, _ = x.shape
    side = size // window
    x = x.permute(0, 2, 3, 1).reshape(n, side, window, side, window, width)
    return x.transpose(2, 3).reshape(n, side * side, window * window, width)


def from_windows(x: Tensor, size: int) -> Tensor:
    """Lay windows (N, W, T, D) back out as a map (N, D, size, size)."""
    n, windows, count, width = x.shape
    side, window = math.isqrt(windows), math.isqrt(count)
    x = x.reshape(n, side, side, window, window, width).transpose(2, 3)
    return x.reshape(n, size, size, width).permute(0, 3, 1, 2)


class Stage(nn.Module):
    """The residual blocks of one resolution, at which windows hold `window` x `window` tokens."""

    index: Tensor

    def __init__(self, inputs: int, width: int, blocks: int, window: int, *, checkpointing: bool, **block: Any) -> None:
        super().__init__()
        self.checkpointing = checkpointing
        self.register_buffer("index", relative_position_index(window), persistent=False)
        self.blocks = nn.ModuleList(
            ResBlock(width if i else inputs, width, window=window, **block) for i in range(blocks)
        )

    def forward(self, x: Tensor, c: Tensor) -> Tensor:
        for block in self.blocks:
            x = run_block(block, x, c, self.index, checkpointing=self.checkpointing)
        return x


class ImageDiffiT(Denoiser):
    """The U-shaped model: stages at falling, then at rising resolution, joined where resolutions are equal.

    `widths` and `blocks` (the paper's L1, L2, ...) have one entry per resolution, the finest first.
    """

    def __init__(
        self,
        spec: DenoiserSpec,
        *,
        widths: str,
        blocks: str,
        window: int,
        head_width: int,
        time_width: int,
        time: str = "tmsa",
        checkpointing: bool = False,
    ) -> None:
        super().__init__(spec, time_width)
        plan, depths = numbers(widths), numbers(blocks)
        sizes = [spec.resolution >> level for level in range(len(plan))]
        check_plan(plan, depths, sizes, window, head_width)

        def stage(inputs: int, level: int) -> Stage:
            return Stage(
                inputs,
                plan[level],
                depths[level],
                min(window, sizes[level]),
                checkpointing=checkpointing,
                head_width=head_width,
                time_width=time_width,
                time=time,
            )

        self.tokenizer = nn.Conv2d(spec.channels, plan[0], 3, padding=1)
        self.encoder = nn.ModuleList(stage(plan[max(0, level - 1)], level) for level in range(len(plan)))
        self.down = nn.ModuleList(nn.Conv2d(width, width, 3, stride=2, padding=1) for width in plan[:-1])
        climb = range(len(plan) - 2, -1, -1)  # the levels of the decoder, coarsest first
        self.up = nn.ModuleList(nn.ConvTranspose2d(plan[i + 1], plan[i + 1], 2, stride=2) for i in climb)
        self.decoder = nn.ModuleList(stage(plan[i + 1] + plan[i], i) for i in climb)
        head = nn.Conv2d(plan[0], spec.out_channels, 3, padding=1)
        self.head = nn.Sequential(group_norm(plan[0]), head)
        init_weights(self, head)
        if self.y_embedder is not None:  # the paper's image models have no labels; see the README
            nn.init.normal_(self.y_embedder.embedding_table.weight)

    def forward(self, x: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        c = self.condition(t, y)
        x = self.encoder[0](self.tokenizer(x), c)
        skips: list[Tensor] = []
        for down, stage in zip(self.down, self.encoder[1:], strict=True):
            skips.append(x)
            x = stage(down(x), c)
        for up, stage in zip(self.up, self.decoder, strict=True):
            x = stage(torch.cat([up(x), skips.pop()], dim=1), c)
        return self.head(x)  # type: ignore[no-any-return]


def numbers(text: str) -> list[int]:
    """ "128,256" -> [128, 256]."""
    return [int(number) for number in text.split(",")]


def check_plan(plan: list[int], depths: list[int], sizes: list[int], window: int, head_width: int) -> None:
    """Every stage has its width and blocks, whole heads, and a map that halves evenly into whole windows."""
    if len(plan) != len(depths):
        raise BadValue(f"diffit: {len(plan)} widths but blocks for {len(depths)} resolutions; name as many of both.")
    for width in plan:
        if width % head_width or width % 4:
            raise BadValue(f"diffit: width {width} does not split into heads of {head_width} and groups of 4 channels.")
    for level, size in enumerate(sizes):
        if size << level != sizes[0] or size % min(window, max(1, size)):
            raise BadValue(
                f"diffit: resolution {sizes[0]} halved {len(sizes) - 1} times does not split into windows of {window}; "
                "choose another size or resolution."
            )


def init_weights(net: Denoiser, head: nn.Linear | nn.Conv2d) -> None:
    """DiT's start (Xavier-uniform, zero biases, embedders with std 0.02, a head that puts out zeros).

    Convolutions are treated as Linears are; the bias tables follow Swin, std 0.02.
    """
    initialize_as_dit(net)
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.xavier_uniform_(module.weight.view(module.weight.shape[0], -1))
            zero_bias(module)
        elif isinstance(module, TimeAttention):
            nn.init.trunc_normal_(module.relative_position_bias_table, std=0.02)
    nn.init.zeros_(head.weight)


def zero_bias(module: nn.Conv2d | nn.ConvTranspose2d) -> None:
    """Zero the bias, which mypy can't know to exist."""
    if module.bias is not None:
        nn.init.zeros_(module.bias)


LATENT = ("depth", "width", "heads", "patch_size")  # what a size must say of each model
IMAGE = ("widths", "blocks", "window", "head_width", "time_width")


def build(
    spec: DenoiserSpec,
    *,
    model: str | None = None,
    time: str = "tmsa",
    checkpointing: bool = False,
    **size: Any,
) -> nn.Module:
    """The model that `spec.space` asks for, or the one that `model` names; `size` must describe it."""
    model = model or ("latent" if spec.space == "latent" else "image")
    keys = LATENT if model == "latent" else IMAGE
    if not size.keys() >= set(keys):
        fitting = ", ".join(name for name, settings in SIZES.items() if settings.keys() >= set(keys))
        raise BadValue(
            f"diffit: this size is not one of the {model} model ({fitting}); choose one, or the other model."
        )
    described = {key: size[key] for key in (*keys, "mlp_ratio") if key in size}
    network = LatentDiffiT if model == "latent" else ImageDiffiT
    return network(spec, time=time, checkpointing=checkpointing, **described)
