"""Our first step beyond the paper: the three parts of OSMIS on frozen features.

Projected GANs discriminate on features of a frozen ImageNet network and converge tens of times
faster. Here all three parts of OSMIS move onto such features (method page, "A discriminator that
sees through frozen features").
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from osmis_core.augment.features import FeatureAugmentation
from osmis_core.models.attention import resize_mask
from osmis_core.models.frozen_features import FEATURE_CHANNELS, EfficientNetLite0Features
from osmis_core.models.generator import LEAK
from osmis_core.models.judgement import ContentLogits, Judgement
from osmis_core.models.spectral import SpectralConv2d, SpectralLinear, update_spectral_norms
from osmis_core.models.supervision.base import MaskSupervision
from osmis_core.models.supervision.content_attention import MaskedContentAttention

MIXED_CHANNELS = (32, 128, 128, 128)
HEAD_CHANNELS = (32, 64, 64, 64)
"""Narrow at stride 2, which costs as much as all the others together: refinement replaces what is
seen there by the source's own detail."""
CONTENT_CHANNELS = 256
LAYOUT_SCALES = (2, 3)
"""Scales (strides 8 and 16) that have a layout head."""
ENLARGED_BELOW_PX = 160
"""Images whose shorter side is below this are enlarged ×2 before the frozen network."""


class ProjectedDiscriminator(nn.Module):
    """Low-level, object and layout heads on frozen, randomly mixed EfficientNet-Lite0 features.

    ``perceive`` runs the frozen network (once for generated images: the generator's step needs
    its gradient, the discriminator's step takes the same features detached); ``judge`` the heads.

    Args:
        class_count: K, background included.
        source_area_K: share of the source that each class covers.
        supervision: masked content attention if None; the other one that works here is none at
            all, when neither content nor layout heads see masks.
    """

    source_area_K: Tensor

    def __init__(
        self,
        class_count: int,
        source_area_K: Tensor,
        supervision: MaskSupervision | None = None,
    ) -> None:
        super().__init__()
        self.class_count = class_count
        supervision = supervision or MaskedContentAttention(class_count, masked_mean=True)
        mask_channels = class_count + 1 if supervision.sees_layouts else 0
        self.register_buffer("source_area_K", source_area_K)
        self.memory_format = torch.channels_last
        self.features = EfficientNetLite0Features()
        self.mixers = nn.ModuleList(
            nn.Conv2d(c, m, 1) for c, m in zip(FEATURE_CHANNELS, MIXED_CHANNELS, strict=True)
        )
        self.mixers.requires_grad_(requires_grad=False)
        self.low = nn.ModuleList(
            nn.Sequential(
                SpectralConv2d(m, h, 3, stride=2 if scale < LAYOUT_SCALES[-1] else 1),
                nn.LeakyReLU(LEAK),
                SpectralConv2d(h, h, 3),
                nn.LeakyReLU(LEAK),
                SpectralConv2d(h, 1, 1),
            )
            for scale, (m, h) in enumerate(zip(MIXED_CHANNELS, HEAD_CHANNELS, strict=True))
        )
        self.content = nn.ModuleList(
            nn.Sequential(
                SpectralLinear(m, CONTENT_CHANNELS),
                nn.LeakyReLU(LEAK),
                SpectralLinear(CONTENT_CHANNELS, CONTENT_CHANNELS),
                nn.LeakyReLU(LEAK),
                SpectralLinear(CONTENT_CHANNELS, supervision.outcomes),
            )
            for m in MIXED_CHANNELS
        )
        self.squeeze = nn.ModuleList(SpectralConv2d(MIXED_CHANNELS[s], 1, 1) for s in LAYOUT_SCALES)
        self.layout = nn.ModuleList(
            nn.Sequential(
                SpectralConv2d(2 + mask_channels, 16, 3, stride=2),
                nn.LeakyReLU(LEAK),
                SpectralConv2d(16, 32, 3, stride=2),
                nn.LeakyReLU(LEAK),
                SpectralConv2d(32, 1, 3),
            )
            for _ in LAYOUT_SCALES
        )
        self.supervision = supervision
        update_spectral_norms(self, iterations=5)

    def perceive(self, images_BCHW: list[Tensor]) -> list[Tensor]:
        """Mixed frozen features of the full-size images, finest first."""
        image_BCHW = images_BCHW[-1].contiguous(memory_format=self.memory_format)
        is_small = min(image_BCHW.shape[2:]) < ENLARGED_BELOW_PX
        maps = self.features(image_BCHW, enlarged=is_small)
        return [mixer(f) for mixer, f in zip(self.mixers, maps, strict=True)]

    def judge(
        self,
        features_BCHW: list[Tensor],
        mask_BKHW: Tensor,
        augmentation: FeatureAugmentation | None = None,
        *,
        group: int | None = None,
    ) -> Judgement:
        """Decisions on features as ``perceive`` gives them.

        Args:
            features_BCHW: of every scale.
            mask_BKHW: the masks at image size.
            augmentation: of features of real pairs.
            group: how many samples in a row belong together, generated or real, and are compared
                with one another; all if None.
        """
        low_level = [h(f).float() for h, f in zip(self.low, features_BCHW, strict=True)]
        masks = [resize_mask(mask_BKHW, *f.shape[2:]) for f in features_BCHW]
        content = [
            self._content(head, f, m, augmentation)
            for head, f, m in zip(self.content, features_BCHW, masks, strict=True)
        ]
        layout = []
        for head, squeeze, scale in zip(self.layout, self.squeeze, LAYOUT_SCALES, strict=True):
            features, mask = features_BCHW[scale], masks[scale]
            if augmentation is not None:
                features, mask = augmentation.layout(features, mask)
            seen = [squeeze(features), batch_spread(features, group)]
            if self.supervision.sees_layouts:
                seen = [seen[0], mask, seen[1], batch_spread(mask, group)]
            layout.append(head(torch.cat([s.to(features.dtype) for s in seen], 1)).float())
        return Judgement(low_level, layout, content)

    def _content(
        self,
        head: nn.Module,
        features_BCHW: Tensor,
        mask_BKhw: Tensor,
        augmentation: FeatureAugmentation | None,
    ) -> ContentLogits | Tensor:
        vectors_BNC = self.supervision.content_vectors(features_BCHW, mask_BKhw)
        if augmentation is not None:
            present_BN = self.supervision.present(mask_BKhw)
            vectors_BNC = augmentation.content(vectors_BNC, present_BN)
        logits_MO = head(vectors_BNC.flatten(0, 1)).float()
        logits_BNO = logits_MO.unflatten(0, vectors_BNC.shape[:2])
        return self.supervision.content_decision(logits_BNO, mask_BKhw, self.source_area_K)


class _BatchSpread(torch.autograd.Function):
    """Standard deviation over a group, averaged over channels; all that is kept is its slope."""

    @staticmethod
    def forward(ctx: Any, x_BCHW: Tensor, size: int) -> Tensor:
        batch, channels, height, width = x_BCHW.shape
        # as they lie in memory: a mean over one of several strides takes ten times as long
        x_GBN = x_BCHW.permute(0, 2, 3, 1).reshape(batch // size, size, -1).float()
        centred_GBN = x_GBN - x_GBN.mean(1, keepdim=True)
        deviation_G1N = (centred_GBN.square().mean(1, keepdim=True) + 1e-8).sqrt_()
        slope_GBN = centred_GBN.div_(deviation_G1N).div_(size * channels)
        ctx.save_for_backward(slope_GBN.to(x_BCHW.dtype))
        return deviation_G1N.view(-1, 1, height, width, channels).mean(4)

    @staticmethod
    def backward(ctx: Any, gradient_G1HW: Tensor) -> tuple[Tensor, None]:
        (slope_GBN,) = ctx.saved_tensors
        height, width = gradient_G1HW.shape[2:]
        slope_GBHWC = slope_GBN.view(*slope_GBN.shape[:2], height, width, -1)
        of_x_GBHWC = slope_GBHWC * gradient_G1HW[..., None].to(slope_GBN.dtype)
        return of_x_GBHWC.flatten(0, 1).permute(0, 3, 1, 2), None


def batch_spread(x_BCHW: Tensor, group: int | None = None) -> Tensor:
    """How much the samples of a group differ at each place, told to each of them.

    Lets the layout heads see that all samples of a batch are alike, which is what keeps the
    generator from falling into one layout.

    Args:
        x_BCHW: features or masks.
        group: samples that are compared, in a row; all if None.

    Returns:
        (B, 1, H, W), float32.
    """
    size = group or x_BCHW.shape[0]
    spread_G1HW: Tensor = _BatchSpread.apply(x_BCHW, size)
    return spread_G1HW.expand(-1, size, -1, -1).flatten(0, 1)[:, None]
