"""The OSMIS discriminator as published: low-level, object and layout parts, no pre-training."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from osmis_core.augment.features import FeatureAugmentation
from osmis_core.models.attention import HALF_A_CELL, masked_content_attention, resize_mask
from osmis_core.models.generator import LEAK
from osmis_core.models.judgement import ContentLogits, Judgement
from osmis_core.models.resampling import conv_then_pool, halve
from osmis_core.models.spectral import SpectralConv2d, SpectralLinear, initialise_convolutions

BASE_WIDTH = 32
WIDTH_FACTORS = (1, 2, 4, 8, 8, 8, 8, 8, 8)


@dataclass(frozen=True, kw_only=True)
class DiscriminatorConfig:
    """Shape of the published discriminator.

    Attributes:
        class_count: K, mask channels, background included.
        blocks: residual blocks in all.
        low_level_blocks: how many of them before the split into content and layout.
        masked_mean: content vectors divided by the class's area instead of by all positions.
    """

    class_count: int
    blocks: int
    low_level_blocks: int
    masked_mean: bool = False


class DownBlock(nn.Module):
    """Residual block with 2×2 average pooling; a side of 1 stays 1, so nothing pools to nothing."""

    def __init__(self, c_in: int, c_out: int, *, first: bool = False) -> None:
        super().__init__()
        inner = min(c_in, c_out)
        self.first = first
        self.fused = True
        self.conv1 = SpectralConv2d(c_in, inner, 3)
        self.conv2 = SpectralConv2d(inner, c_out, 3)
        self.shortcut = SpectralConv2d(c_in, c_out, 1, bias=False)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """(B, c_in, H, W) → (B, c_out, ⌈H/2⌉, ⌈W/2⌉)."""
        h = self.conv1(x_BCHW if self.first else F.leaky_relu(x_BCHW, LEAK))
        weight, bias = self.conv2.normalised_weight(), self.conv2.bias
        h = conv_then_pool(F.leaky_relu(h, LEAK), weight, bias, fused=self.fused)
        skip: Tensor = self.shortcut(halve(x_BCHW))
        return skip + h


class VectorBlock(nn.Module):
    """Residual block of 1×1 convolutions on content vectors, (B·K, C)."""

    def __init__(self, c_in: int, c_out: int) -> None:
        super().__init__()
        inner = min(c_in, c_out)
        self.conv1 = SpectralLinear(c_in, inner)
        self.conv2 = SpectralLinear(inner, c_out)
        self.shortcut = SpectralLinear(c_in, c_out) if c_in != c_out else None

    def forward(self, x_NC: Tensor) -> Tensor:
        """(N, c_in) → (N, c_out)."""
        h = self.conv1(F.leaky_relu(x_NC, LEAK))
        h = self.conv2(F.leaky_relu(h, LEAK))
        skip: Tensor = x_NC if self.shortcut is None else self.shortcut(x_NC)
        return torch.add(skip, h)


class OsmisDiscriminator(nn.Module):
    """The published discriminator (method page, "Discriminator"; paper section 3.1).

    ``perceive`` is the identity on the image pyramid; ``judge`` does the work. The split exists
    because the other discriminator has a frozen half that need not be run twice.
    """

    source_area_K: Tensor

    def __init__(self, config: DiscriminatorConfig, source_area_K: Tensor) -> None:
        super().__init__()
        self.config = config
        self.register_buffer("source_area_K", source_area_K)
        low, total = config.low_level_blocks, config.blocks
        widths = [BASE_WIDTH * f for f in WIDTH_FACTORS[: total + 1]]
        doubled = [w * 2 if low < i < total else w for i, w in enumerate(widths)]
        rgb_widths = [widths[0]] + [widths[i] // 8 for i in range(1, low)]
        self.from_rgb = nn.ModuleList(SpectralConv2d(3, w, 3) for w in rgb_widths)
        self.low = nn.ModuleList(
            DownBlock(widths[i] + (rgb_widths[i] if i else 0), widths[i + 1], first=i == 0)
            for i in range(low)
        )
        self.content = nn.ModuleList(
            VectorBlock(doubled[i], doubled[i + 1]) for i in range(low, total)
        )
        self.layout = nn.ModuleList(
            DownBlock(widths[low] if i == low else 1, 1) for i in range(low, total)
        )
        self.low_heads = nn.ModuleList(SpectralConv2d(widths[i + 1], 1, 1) for i in range(low))
        self.content_heads = nn.ModuleList(
            SpectralLinear(doubled[i + 1], config.class_count + 1) for i in range(low, total)
        )
        self.layout_heads = nn.ModuleList(SpectralConv2d(1, 1, 1) for _ in range(low, total))
        initialise_convolutions(self)

    def perceive(self, images_BCHW: list[Tensor]) -> list[Tensor]:
        """The images themselves, coarsest first, laid out as convolutions like them."""
        return [i.contiguous(memory_format=torch.channels_last) for i in images_BCHW]

    def judge(
        self,
        images_BCHW: list[Tensor],
        mask_BKHW: Tensor,
        augmentation: FeatureAugmentation | None = None,
    ) -> Judgement:
        """Decisions on images (coarsest first) with their masks; features augmented if asked."""
        x_BCHW, low_level = self._low_level(images_BCHW)
        mask_BKhw = resize_mask(mask_BKHW, *x_BCHW.shape[2:])
        vectors_BKC = masked_content_attention(
            x_BCHW, mask_BKhw, masked_mean=self.config.masked_mean
        )
        present_BK = mask_BKhw.detach().sum((2, 3)) > 0
        if augmentation is not None:
            vectors_BKC = augmentation.content(vectors_BKC, present_BK)
            x_BCHW, _ = augmentation.layout(x_BCHW, mask_BKhw)
        cells = x_BCHW.shape[2] * x_BCHW.shape[3]
        resolvable_K = self.source_area_K * cells >= HALF_A_CELL
        batch, classes, _ = vectors_BKC.shape
        h_NC = vectors_BKC.flatten(0, 1)
        content = []
        for block, head in zip(self.content, self.content_heads, strict=True):
            h_NC = block(h_NC)
            logits_BKN = head(h_NC).float().view(batch, classes, classes + 1)
            content.append(ContentLogits(logits_BKN, present_BK, resolvable_K))
        layout, y_B1HW = [], x_BCHW
        for block, head in zip(self.layout, self.layout_heads, strict=True):
            y_B1HW = block(y_B1HW)
            layout.append(head(y_B1HW).float())
        return Judgement(low_level, layout, content)

    def _low_level(self, images_BCHW: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        x_BCHW, decisions = self.from_rgb[0](images_BCHW[-1]), []
        for i, (block, head) in enumerate(zip(self.low, self.low_heads, strict=True)):
            if i:
                rgb = self.from_rgb[i](images_BCHW[-1 - i])
                x_BCHW = torch.cat((x_BCHW, rgb), 1)
            x_BCHW = block(x_BCHW)
            decisions.append(head(x_BCHW).float())
        return x_BCHW, decisions
