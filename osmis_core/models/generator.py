"""The OSMIS generator: a latent in, an image at every scale and a soft mask out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from osmis_core.models.resampling import nearest_x2, upsample_then_conv
from osmis_core.models.spectral import SpectralConv2d, initialise_convolutions

LATENT_CHANNELS = 64
BASE_WIDTH = 32
WIDTH_FACTORS = (8, 8, 8, 8, 8, 8, 8, 4, 2, 1)
LEAK = 0.2


@dataclass(frozen=True, kw_only=True)
class GeneratorConfig:
    """Shape of a generator.

    Attributes:
        class_count: K, mask channels, background included; 1: images alone, without mask head.
        grid_h: height of the latent grid; the output is grid · 2^(blocks − 1).
        grid_w: width of the latent grid.
        blocks: residual blocks; the first keeps the resolution, each next one doubles it.
        width_multiplier: scales every width; 1 is the published one.
        noise_map: also draw one latent a grid cell, so that places vary independently.
        multi_scale: an RGB head on every block (the published discriminator wants them all).
    """

    class_count: int
    grid_h: int
    grid_w: int
    blocks: int
    width_multiplier: float = 1.0
    noise_map: bool = False
    multi_scale: bool = True


@dataclass(frozen=True)
class GeneratorOutput:
    """What a generator makes.

    Attributes:
        images_BCHW: images in [−1, 1], coarsest first; only the full size without multi-scale.
        mask_BKHW: class probabilities, sum to 1 over K.
        features_BCHW: every block's features, for the diversity regularisation.
    """

    images_BCHW: list[Tensor]
    mask_BKHW: Tensor
    features_BCHW: list[Tensor]


class UpBlock(nn.Module):
    """Pre-activation residual block, nearest ×2 where it upsamples; no norm layers."""

    def __init__(self, c_in: int, c_out: int, *, upsample: bool) -> None:
        super().__init__()
        inner = min(c_in, c_out)
        self.upsample = upsample
        self.fused = True
        self.conv1 = SpectralConv2d(c_in, inner, 3)
        self.conv2 = SpectralConv2d(inner, c_out, 3)
        self.shortcut = SpectralConv2d(c_in, c_out, 1, bias=False)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Shape (B, c_in, H, W) → (B, c_out, sH, sW), s = 2 where it upsamples."""
        h, skip = F.leaky_relu(x_BCHW, LEAK), self.shortcut(x_BCHW)
        if self.upsample:
            h = upsample_then_conv(h, self.conv1, fused=self.fused)
            # a 1×1 convolution commutes with nearest upsampling: the cheaper order
            skip = nearest_x2(skip)
        else:
            h = self.conv1(h)
        h = self.conv2(F.leaky_relu(h, LEAK))
        return torch.add(skip, h)


class LatentLayer(nn.Module):
    """Transposed convolution of z over the latent grid, plus a 1×1 convolution of the noise map."""

    def __init__(self, config: GeneratorConfig, c_out: int) -> None:
        super().__init__()
        self.grid = nn.ConvTranspose2d(LATENT_CHANNELS, c_out, (config.grid_h, config.grid_w))
        self.cells = nn.Conv2d(LATENT_CHANNELS, c_out, 1) if config.noise_map else None

    def initialise(self) -> None:
        """Unit variance at the output for z ~ N(0, I)."""
        std = LATENT_CHANNELS**-0.5
        for layer in (self.grid, self.cells):
            if layer is not None:
                nn.init.normal_(layer.weight, 0.0, std)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)

    def forward(self, latent_BZhw: Tensor) -> Tensor:
        """Latents as ``draw_latents`` makes them → (B, c_out, grid_h, grid_w)."""
        x_BChw: Tensor = self.grid(latent_BZhw[:, :, :1, :1])
        if self.cells is None:
            return x_BChw
        cells_BChw: Tensor = self.cells(latent_BZhw[:, :, :, 1:])
        return torch.add(x_BChw, cells_BChw).mul(0.5**0.5)


class Generator(nn.Module):
    """OSMIS generator (method page, "Generator"; paper section 3).

    Input: ``draw_latents``; output: ``GeneratorOutput`` at grid · 2^(blocks − 1) pixels.
    """

    def __init__(self, config: GeneratorConfig) -> None:
        super().__init__()
        self.config = config
        self.memory_format = torch.channels_last
        widths = [
            max(8, int(BASE_WIDTH * f * config.width_multiplier))
            for f in WIDTH_FACTORS[-config.blocks - 1 :]
        ]
        self.latent = LatentLayer(config, widths[0])
        self.blocks = nn.ModuleList(
            UpBlock(widths[i], widths[i + 1], upsample=i > 0) for i in range(config.blocks)
        )
        headed = range(config.blocks) if config.multi_scale else [config.blocks - 1]
        self.rgb_heads = nn.ModuleDict(
            {str(i): SpectralConv2d(widths[i + 1], 3, 3) for i in headed}
        )
        self.mask_head = (
            nn.Conv2d(widths[-1], config.class_count, 3, padding=1)
            if config.class_count > 1
            else None
        )
        initialise_convolutions(self)
        self.latent.initialise()

    def forward(self, latent_BZhw: Tensor) -> GeneratorOutput:
        """Latents (B, 64, ·, ·) → images, soft mask and block features."""
        x_BCHW = self.latent(latent_BZhw).contiguous(memory_format=self.memory_format)
        images, features = [], []
        for i, block in enumerate(self.blocks):
            x_BCHW = block(x_BCHW)
            features.append(x_BCHW)
            if str(i) in self.rgb_heads:
                images.append(torch.tanh(self.rgb_heads[str(i)](x_BCHW).float()))
        if self.mask_head is None:  # a softmax over one class is 1 everywhere
            mask_BKHW = torch.ones_like(images[-1][:, :1])
        else:
            mask_BKHW = self.mask_head(x_BCHW).float().softmax(1)
        return GeneratorOutput(images, mask_BKHW, features)


def latent_shape(config: GeneratorConfig) -> tuple[int, int, int]:
    """(64, 1, 1), or (64, grid_h, 1 + grid_w) with a noise map: column 0 holds z."""
    if not config.noise_map:
        return (LATENT_CHANNELS, 1, 1)
    return (LATENT_CHANNELS, config.grid_h, 1 + config.grid_w)


def draw_latents(config: GeneratorConfig, seed: int, indices: range) -> Tensor:
    """z_i = f(seed, i) alone: the same latent for sample i whatever the batch it is drawn in."""
    shape = latent_shape(config)
    rows = [
        np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, i])))
        .standard_normal(shape)
        .astype(np.float32)
        for i in indices
    ]
    return torch.from_numpy(np.stack(rows))
