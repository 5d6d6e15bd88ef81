"""MaskDiT: fast training of diffusion models with masked transformers (Zheng et al., 2023, arXiv:2306.09305).

A DiT that in training sees a random half of the tokens, and a small second transformer, the decoder, that has them
all: where the encoder saw nothing it finds one learned token. The loss wants the kept tokens denoised, and the hidden
ones to reconstruct what was hidden: the noisy input. Sampling hides nothing, and runs both.

Letters in shapes: N images, T tokens, K kept tokens, D the encoder's width, E the decoder's, C channels, P patch size.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ditbench import BadValue, DenoiserSpec, TrainingLoss
from ditbench.layers import (
    AdaLNHead,
    AdaLNZeroBlock,
    PatchEmbed,
    TimestepEmbedder,
    initialize_as_dit,
    run_block,
    sincos_positions,
    tokens_per_side,
    unpatchify,
)

LEAST, MOST = math.log(0.002), math.log(80)  # of ln sigma, where t is 0 and 1000: EDM's range


class ClassTable(nn.Module):
    """y (N,) -> (N, D), or zeros for the null label: the published one-hot vector times a matrix without bias."""

    def __init__(self, classes: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(classes, width))
        nn.init.normal_(self.weight, std=0.02)

    def forward(self, y: Tensor) -> Tensor:
        return F.embedding(y, F.pad(self.weight, (0, 0, 0, 1)))


class MaskDiT(nn.Module):
    """The denoiser. `depth`, `width` and `heads` are the encoder's, a DiT's; what is named decoder is the decoder's."""

    def __init__(
        self,
        spec: DenoiserSpec,
        *,
        depth: int,
        width: int,
        heads: int,
        patch_size: int,
        decoder: int = 8,
        decoder_width: int = 512,
        decoder_heads: int = 16,
        mlp_ratio: float = 4.0,
        mask: bool = True,
        mask_ratio: float = 0.5,
        reconstruction: float = 0.1,
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        self.patch_size, self.out_channels = patch_size, spec.out_channels
        self.mask, self.reconstruction, self.checkpointing = mask, reconstruction, checkpointing
        grid = tokens_per_side("maskdit", spec.resolution, patch_size)
        self.tokens = grid**2
        self.kept = int(self.tokens * (1 - mask_ratio))
        check_masking(mask, mask_ratio, reconstruction, decoder, self.tokens)

        self.x_embedder = PatchEmbed(spec.channels, patch_size, width)
        self.t_embedder = TimestepEmbedder(width)
        self.y_embedder = ClassTable(spec.classes, width) if spec.classes else None
        self.pos_embed = nn.Parameter(sincos_positions(width, grid), requires_grad=False)  # (1, T, D)
        self.blocks = nn.ModuleList(AdaLNZeroBlock(width, heads, mlp_ratio) for _ in range(depth))
        if decoder:
            self.decoder_layer = AdaLNHead(width, 1, decoder_width)  # D -> E
            self.decoder_pos_embed = nn.Parameter(sincos_positions(decoder_width, grid), requires_grad=False)
        self.decoder_blocks = nn.ModuleList(
            AdaLNZeroBlock(decoder_width, decoder_heads, mlp_ratio, condition=width) for _ in range(decoder)
        )
        self.mask_token = nn.Parameter(torch.empty(1, 1, decoder_width)) if mask else None
        self.final_layer = AdaLNHead(
            decoder_width if decoder else width, patch_size, spec.out_channels, condition=width
        )
        self.train_only = ("mask_token",) if mask else ()

        initialize_as_dit(self)
        if self.mask_token is not None:
            nn.init.normal_(self.mask_token, std=0.02)

    def forward(
        self, x: Tensor, t: Tensor, y: Tensor | None = None, *, keep_ids: Tensor | None = None, keep: int | None = None
    ) -> Tensor:
        """Denoise; masked if told which tokens of each image to keep (N, K), or how many at random."""
        tokens = self.x_embedder(x) + self.pos_embed  # (N, T, D)
        c = self.t_embedder((LEAST + (MOST - LEAST) * t / 1000) / 4)  # (N, D), of EDM's ln(sigma) / 4
        if self.y_embedder is not None:
            c = c + self.y_embedder(y)
        if keep is not None:
            keep_ids = draw_kept(len(x), self.tokens, keep, x.device)
        if keep_ids is not None:
            tokens = tokens.gather(1, keep_ids[:, :, None].expand(-1, -1, tokens.shape[2]))  # (N, K, D)
        tokens = self.run(self.blocks, tokens, c)
        if self.decoder_blocks:
            tokens = self.decode(tokens, c, keep_ids)
        return unpatchify(self.final_layer(tokens, c), self.out_channels, self.patch_size)

    def decode(self, tokens: Tensor, c: Tensor, keep_ids: Tensor | None) -> Tensor:
        """All tokens (N, T, E) from the encoder's, (N, T, D) or, with `keep_ids` (N, K), (N, K, D)."""
        tokens = self.decoder_layer(tokens, c)
        if keep_ids is not None:
            tokens = self.fill(tokens, keep_ids)
        return self.run(self.decoder_blocks, tokens + self.decoder_pos_embed, c)

    def fill(self, kept: Tensor, keep_ids: Tensor) -> Tensor:
        """The kept tokens (N, K, E) in their places, and the mask token in the others: (N, T, E)."""
        if self.mask_token is None:
            raise BadValue("maskdit: built with mask=off it has no masked forward pass; build it with mask=on.")
        places = keep_ids[:, :, None].expand_as(kept)
        return self.mask_token.to(kept.dtype).expand(len(kept), self.tokens, -1).scatter(1, places, kept)

    def run(self, blocks: nn.ModuleList, x: Tensor, c: Tensor) -> Tensor:
        """All blocks, one after another."""
        for block in blocks:
            x = run_block(block, x, c, checkpointing=self.checkpointing)
        return x

    def training_loss(self, loss: TrainingLoss) -> Tensor:
        """The objective's loss of the kept tokens, and the squared error by which the hidden ones reconstruct.

        Their target is the noisy image, each patch with mean 0 and variance 1 (as in MAE, arXiv:2111.06377).
        """
        if not self.mask:
            return loss()
        keep_ids = draw_kept(len(loss.y), self.tokens, self.kept, loss.y.device)
        seen = loss.forward(keep_ids=keep_ids)
        kept = torch.zeros(len(keep_ids), self.tokens, device=keep_ids.device).scatter(1, keep_ids, 1.0)  # (N, T)
        denoising = (self.patches(seen.error).mean(dim=2) * kept).sum() / kept.sum() + seen.rest.mean()
        target = standardized(self.patches(seen.x_t.float()))
        wrong = (self.patches(seen.denoised.float()) - target).square().mean(dim=2)  # (N, T)
        hidden = 1 - kept
        return denoising + self.reconstruction * (wrong * hidden).sum() / hidden.sum()

    def patches(self, image: Tensor) -> Tensor:
        """(N, C, G*P, G*P) -> (N, T, C*P*P)."""
        return F.unfold(image, self.patch_size, stride=self.patch_size).transpose(1, 2)

    def training_cost(self, cost: Callable[..., float]) -> float:
        """What `training_loss` costs of an image; `cost(**keywords)` is one pass's."""
        return cost(keep=self.kept) if self.mask else cost()


def draw_kept(images: int, tokens: int, keep: int, device: torch.device) -> Tensor:
    """Random places of the tokens that each image keeps: (N, K)."""
    return torch.rand(images, tokens, device=device).argsort(dim=1)[:, :keep]


def standardized(patches: Tensor) -> Tensor:
    """Each patch of (N, T, C*P*P) with mean 0 and variance 1."""
    variance, mean = torch.var_mean(patches, dim=2, keepdim=True)
    return (patches - mean) * (variance + 1e-6).rsqrt()


def check_masking(mask: bool, ratio: float, reconstruction: float, decoder: int, tokens: int) -> None:
    """Refuse what makes no sense, hides all tokens or none, or leaves nothing to fill them in."""
    if not mask:
        return
    if not 0 < ratio < 1:
        raise BadValue(f"maskdit: mask_ratio {ratio} is no share of the tokens; choose one between 0 and 1.")
    if not 0 < int(tokens * (1 - ratio)) < tokens:
        raise BadValue(f"maskdit: mask_ratio {ratio} hides all or none of {tokens} tokens; choose one nearer to 0.5.")
    if reconstruction < 0:
        raise BadValue(f"maskdit: reconstruction {reconstruction} is below 0, which is no weight of a loss.")
    if decoder < 1:
        raise BadValue("maskdit: without a decoder nothing fills in hidden tokens; choose mask=off, or decoder=1.")
