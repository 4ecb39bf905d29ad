"""The OSMIS discriminator as published: low-level, content and layout parts, no pre-training."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from osmis_core.augment.features import FeatureAugmentation
from osmis_core.models.attention import resize_mask
from osmis_core.models.generator import LEAK
from osmis_core.models.judgement import ContentLogits, Judgement
from osmis_core.models.resampling import conv_then_pool, halve
from osmis_core.models.spectral import SpectralConv2d, SpectralLinear, initialise_convolutions
from osmis_core.models.supervision.base import MaskSupervision
from osmis_core.models.supervision.content_attention import MaskedContentAttention

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

    @property
    def low_level_widths(self) -> tuple[int, ...]:
        """Channels after each low-level block."""
        return tuple(BASE_WIDTH * f for f in WIDTH_FACTORS[1 : self.low_level_blocks + 1])


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
        h = conv_then_pool(F.leaky_relu(h, LEAK), self.conv2, fused=self.fused)
        skip: Tensor = self.shortcut(halve(x_BCHW))
        return skip + h


class VectorBlock(nn.Module):
    """Residual block of 1×1 convolutions on content vectors, (B·N, C)."""

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

    Args:
        config: its shape.
        source_area_K: share of the source that each class covers.
        supervision: what it does with masks; masked content attention if None.
    """

    source_area_K: Tensor

    def __init__(
        self,
        config: DiscriminatorConfig,
        source_area_K: Tensor,
        supervision: MaskSupervision | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.memory_format = torch.channels_last
        supervision = supervision or MaskedContentAttention(
            config.class_count, masked_mean=config.masked_mean
        )
        self.register_buffer("source_area_K", source_area_K)
        low, total = config.low_level_blocks, config.blocks
        widths = [BASE_WIDTH * f for f in WIDTH_FACTORS[: total + 1]]
        doubled = [w * 2 if low < i < total else w for i, w in enumerate(widths)]
        rgb_widths = [widths[0]] + [widths[i] // 8 for i in range(1, low)]
        self.from_rgb = nn.ModuleList(
            SpectralConv2d(supervision.input_channels, w, 3) for w in rgb_widths
        )
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
            SpectralLinear(doubled[i + 1], supervision.outcomes) for i in range(low, total)
        )
        self.layout_heads = nn.ModuleList(SpectralConv2d(1, 1, 1) for _ in range(low, total))
        self.supervision = supervision
        initialise_convolutions(self)

    def perceive(self, images_BCHW: list[Tensor]) -> list[Tensor]:
        """The images themselves, coarsest first, laid out as convolutions like them."""
        return [i.contiguous(memory_format=self.memory_format) for i in images_BCHW]

    def judge(
        self,
        images_BCHW: list[Tensor],
        mask_BKHW: Tensor,
        augmentation: FeatureAugmentation | None = None,
        *,
        group: int | None = None,  # noqa: ARG002 -- no sample is compared with another here
    ) -> Judgement:
        """Decisions on images (coarsest first) with their masks; features augmented if asked."""
        x_BCHW, low_level = self._low_level(images_BCHW, mask_BKHW)
        mask_BKhw = resize_mask(mask_BKHW, *x_BCHW.shape[2:])
        content = self._content(x_BCHW, mask_BKhw, augmentation)
        layout = self._layout(x_BCHW, mask_BKhw, augmentation)
        pairs = self.supervision.judge_pairs(images_BCHW[-1], mask_BKHW)
        return Judgement(low_level, layout, content, pairs)

    def _low_level(
        self, images_BCHW: list[Tensor], mask_BKHW: Tensor
    ) -> tuple[Tensor, list[Tensor]]:
        inputs = self.supervision.inputs(images_BCHW, mask_BKHW)
        x_BCHW, decisions = self.from_rgb[0](inputs[-1]), []
        for i, (block, head) in enumerate(zip(self.low, self.low_heads, strict=True)):
            if i:
                rgb = self.from_rgb[i](inputs[-1 - i])
                x_BCHW = torch.cat((x_BCHW, rgb), 1)
            x_BCHW = block(x_BCHW)
            logits = head(x_BCHW).float()
            decisions.append(self.supervision.decide("low_level", i, logits, x_BCHW, mask_BKHW))
        return x_BCHW, decisions

    def _content(
        self, x_BCHW: Tensor, mask_BKhw: Tensor, augmentation: FeatureAugmentation | None
    ) -> list[ContentLogits | Tensor]:
        vectors_BNC = self.supervision.content_vectors(x_BCHW, mask_BKhw)
        if augmentation is not None:
            present_BN = self.supervision.present(mask_BKhw)
            vectors_BNC = augmentation.content(vectors_BNC, present_BN)
        h_MC = vectors_BNC.flatten(0, 1)
        decisions = []
        for block, head in zip(self.content, self.content_heads, strict=True):
            h_MC = block(h_MC)
            logits_BNO = head(h_MC).float().unflatten(0, vectors_BNC.shape[:2])
            decisions.append(
                self.supervision.content_decision(logits_BNO, mask_BKhw, self.source_area_K)
            )
        return decisions

    def _layout(
        self, x_BCHW: Tensor, mask_BKhw: Tensor, augmentation: FeatureAugmentation | None
    ) -> list[Tensor]:
        if augmentation is not None:
            # the mask moves along: heads that see both must not see them apart
            x_BCHW, mask_BKhw = augmentation.layout(x_BCHW, mask_BKhw)
        y_B1HW, decisions = x_BCHW, []
        for i, (block, head) in enumerate(zip(self.layout, self.layout_heads, strict=True)):
            y_B1HW = block(y_B1HW)
            logits = head(y_B1HW).float()
            decisions.append(self.supervision.decide("layout", i, logits, y_B1HW, mask_BKhw))
        return decisions
