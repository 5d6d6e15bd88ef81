"""U-ViT: all are worth words (Bao et al., 2023, arXiv:2209.12152).

Time, label and noisy patches are tokens of one sequence; a plain ViT whose first layers hand their
output to its last layers by long skip connections predicts the noise from it.

Letters in shapes: N images, T tokens (time and label included), D width, C channels, P patch size, G tokens
per side.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from ditbench import BadValue, DenoiserSpec
from ditbench.layers import (
    Attention,
    Mlp,
    PatchEmbed,
    run_block,
    sincos_positions,
    timestep_embedding,
    tokens_per_side,
    unpatchify,
)


class Norm(nn.LayerNorm):
    """The layer norm of a plain block, which has no use for the time."""

    def forward(self, input: Tensor, time: Tensor | None = None) -> Tensor:
        return super().forward(input)


class TimeNorm(nn.Module):
    """`time=adaln`: y_s * LN(h) + y_b with (y_s, y_b) = Linear(time), as Section 3.1 writes it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.linear = nn.Linear(width, 2 * width)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        scale, shift = self.linear(time)[:, None].chunk(2, dim=-1)  # (N, 1, D) each
        return self.norm(x) * scale + shift  # type: ignore[no-any-return]


class LongSkip(nn.Module):
    """The ways of Section 3.1 to join the main branch h and the skip s, both (N, T, D)."""

    def __init__(self, width: int, join: str) -> None:
        super().__init__()
        self.join = join
        if join != "add":
            self.linear = nn.Linear(2 * width if join == "concat" else width, width)

    def forward(self, h: Tensor, s: Tensor) -> Tensor:
        if self.join == "add":
            return h + s
        if self.join == "linear-add":
            return self.linear(h + s)  # type: ignore[no-any-return]
        if self.join == "add-linear":
            return h + self.linear(s)  # type: ignore[no-any-return]
        return self.linear(torch.cat([h, s], dim=-1))  # type: ignore[no-any-return]


class Block(nn.Module):
    """A pre-norm transformer block with the exact GELU, behind a long skip if `join` names one."""

    def __init__(
        self, width: int, heads: int, mlp_ratio: float, qkv_bias: bool, adaln: bool, join: str = "none"
    ) -> None:
        super().__init__()
        norm = TimeNorm if adaln else Norm
        self.skip = None if join == "none" else LongSkip(width, join)
        self.norm1 = norm(width)
        self.attn = Attention(width, heads, qkv_bias)
        self.norm2 = norm(width)
        self.mlp = Mlp(width, mlp_ratio, approximate="none")

    def forward(self, x: Tensor, time: Tensor | None, skip: Tensor | None = None) -> Tensor:
        if self.skip is not None:
            x = self.skip(x, skip)
        x = x + self.attn(self.norm1(x, time))
        return x + self.mlp(self.norm2(x, time))  # type: ignore[no-any-return]


class ConvStack(nn.Module):
    """`patch=conv-stack`: 3x3 convolutions, each halving the image and doubling the width, then a 1x1 one.

    The batch norm of Xiao et al. (2021) would make an image depend on its batch, so it is left out.
    """

    def __init__(self, channels: int, patch: int, width: int) -> None:
        super().__init__()
        halvings = patch.bit_length() - 1
        if patch != 1 << halvings:
            raise BadValue(f"uvit: patch=conv-stack halves the image; patch_size {patch} must be a power of 2.")
        layers: list[nn.Module] = []
        for left in reversed(range(max(1, halvings))):
            inner = max(1, width >> left)
            layers += [nn.Conv2d(channels, inner, 3, 2 if halvings else 1, padding=1), nn.GELU()]
            channels = inner
        self.proj = nn.Sequential(*layers, nn.Conv2d(width, width, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x).flatten(2).transpose(1, 2)  # type: ignore[no-any-return]


class UViT(nn.Module):
    """The denoiser. `depth` counts all layers: (depth - 1) / 2 before and behind the middle one."""

    pos_embed: Tensor | None

    def __init__(
        self,
        spec: DenoiserSpec,
        *,
        depth: int,
        width: int,
        heads: int,
        patch_size: int,
        mlp_ratio: float = 4.0,
        qkv_bias: bool = False,
        init_std: float = 0.02,
        position_std: float = 0.02,
        conv_identity: bool = False,
        skip: str = "concat",
        time: str = "token",
        conv: str = "after",
        patch: str = "linear",
        position: str = "learned",
        time_mlp: bool = False,
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        check_settings(depth, width, heads, init_std, position_std)
        self.patch_size, self.out_channels, self.checkpointing = patch_size, spec.out_channels, checkpointing
        self.adaln = time == "adaln"
        self.extras = int(spec.classes > 0) + int(not self.adaln)  # label and time tokens, in this order
        self.grid = tokens_per_side("uvit", spec.resolution, patch_size)

        embed = PatchEmbed if patch == "linear" else ConvStack
        self.patch_embed = embed(spec.channels, patch_size, width)
        self.label_emb = nn.Embedding(spec.classes + 1, width) if spec.classes else None
        self.time_embed = (
            nn.Sequential(nn.Linear(width, 4 * width), nn.SiLU(), nn.Linear(4 * width, width))
            if time_mlp
            else nn.Identity()
        )
        self.set_positions(position, width, position_std)

        def block(join: str = "none") -> Block:
            return Block(width, heads, mlp_ratio, qkv_bias, self.adaln, join)

        self.in_blocks = nn.ModuleList(block() for _ in range(depth // 2))
        self.mid_block = block()
        self.out_blocks = nn.ModuleList(block(skip) for _ in range(depth // 2))

        self.norm = nn.LayerNorm(width)
        self.conv_before = nn.Conv2d(width, width, 3, padding=1) if conv == "before" else None
        self.decoder_pred = nn.Linear(width, patch_size**2 * spec.out_channels)
        self.final_layer = (
            nn.Conv2d(spec.out_channels, spec.out_channels, 3, padding=1) if conv == "after" else nn.Identity()
        )
        self.apply(partial(init_weights, std=init_std))
        if conv_identity and isinstance(self.final_layer, nn.Conv2d):
            nn.init.dirac_(self.final_layer.weight)

    def set_positions(self, position: str, width: int, std: float) -> None:
        """One table over the whole sequence; fixed sinusoids leave the label and time tokens at zero."""
        if position == "learned":
            table = torch.empty(1, self.extras + self.grid**2, width)
            self.pos_embed = nn.Parameter(truncated_normal(table, std))
        elif position == "sincos":
            if width % 4:
                raise BadValue(f"uvit: position=sincos needs a width divisible by 4, not {width}.")
            table = sincos_positions(width, self.grid)
            self.register_buffer("pos_embed", nn.functional.pad(table, (0, 0, self.extras, 0)))
        else:
            self.register_buffer("pos_embed", None)

    def forward(self, x: Tensor, t: Tensor, y: Tensor | None = None) -> Tensor:
        tokens = self.patch_embed(x)  # (N, G*G, D)
        time = self.time_embed(timestep_embedding(t, tokens.shape[-1]).to(tokens.dtype))  # (N, D)
        if not self.adaln:
            tokens = torch.cat([time[:, None], tokens], dim=1)
        if self.label_emb is not None:
            tokens = torch.cat([self.label_emb(y)[:, None], tokens], dim=1)
        if self.pos_embed is not None:
            tokens = tokens + self.pos_embed
        return self.head(self.backbone(tokens, time if self.adaln else None))

    def backbone(self, x: Tensor, time: Tensor | None) -> Tensor:
        """The U: what the i-th layer puts out, the i-th layer from the end takes in."""
        skips: list[Tensor] = []
        for block in self.in_blocks:
            x = run_block(block, x, time, checkpointing=self.checkpointing)
            skips.append(x)
        x = run_block(self.mid_block, x, time, checkpointing=self.checkpointing)
        for block in self.out_blocks:
            x = run_block(block, x, time, skips.pop(), checkpointing=self.checkpointing)
        return x

    def head(self, x: Tensor) -> Tensor:
        """Tokens (N, T, D) -> (N, C, G*P, G*P); label and time have done their work."""
        x = self.norm(x)[:, self.extras :]
        if self.conv_before is not None:
            field = x.transpose(1, 2).reshape(len(x), -1, self.grid, self.grid)  # (N, D, G, G)
            x = self.conv_before(field).flatten(2).transpose(1, 2)
        image = unpatchify(self.decoder_pred(x), self.out_channels, self.patch_size)
        return self.final_layer(image)  # type: ignore[no-any-return]


def check_settings(depth: int, width: int, heads: int, init_std: float, position_std: float) -> None:
    """Refuse what can't be built, in one line."""
    if depth % 2 == 0:
        raise BadValue(f"uvit: depth {depth} is even; long skips need a middle layer, so make it odd.")
    if width % heads:
        raise BadValue(f"uvit: {heads} heads do not divide the width {width}; choose others.")
    if min(init_std, position_std) <= 0:
        raise BadValue(f"uvit: start with init_std {init_std} and position_std {position_std}; both must be above 0.")


def init_weights(module: nn.Module, std: float) -> None:
    """Linear: truncated normal, zero bias. All else keeps PyTorch's own initialisation."""
    if isinstance(module, nn.Linear):
        truncated_normal(module.weight, std)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    if isinstance(module, TimeNorm):  # visited after its Linear: y_s starts near 1, as in a plain norm
        nn.init.ones_(module.linear.bias[: module.linear.out_features // 2])


def truncated_normal(tensor: Tensor, std: float) -> Tensor:
    """Cut at +-2, not at 2 std: with the published std of 0.02 a plain normal in practice."""
    return nn.init.trunc_normal_(tensor, std=std)
