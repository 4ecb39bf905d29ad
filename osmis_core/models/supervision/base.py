"""The interface, and its plainest kind: a discriminator of images alone."""

# ruff: noqa: ARG002 -- the plainest kind uses little of what the others are given

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from osmis_core.models.judgement import ContentLogits

Part = Literal["low_level", "layout"]

IMAGE_CHANNELS = 3


class MaskSupervision(nn.Module):
    """No use of masks, which is One-Shot GAN (Sushko et al., 2021); others change one thing of it.

    The discriminator asks at four places what masks do there: where images enter, where the
    low-level and layout heads decide, where features become content vectors and their decision,
    and beside it all. Each other option of the paper's Table 3 overrides the methods of one of
    these places; parameters that it needs are its own.

    Attributes:
        input_channels: of what ``inputs`` makes of an image.
        sees_layouts: whether layout heads may be shown the mask (``projected``).
    """

    input_channels = IMAGE_CHANNELS
    sees_layouts = False

    @property
    def outcomes(self) -> int:
        """Logits of a content head: one, real or fake."""
        return 1

    def inputs(self, images_BCHW: list[Tensor], mask_BKHW: Tensor) -> list[Tensor]:
        """What the from-RGB layers are shown, (B, ``input_channels``, h, w) at every scale.

        Args:
            images_BCHW: the image pyramid, coarsest first.
            mask_BKHW: its masks at full size.
        """
        return images_BCHW

    def decide(
        self,
        part: Part,
        layer: int,
        logits_B1HW: Tensor,
        features_BCHW: Tensor,
        mask_BKHW: Tensor,
    ) -> Tensor:
        """A low-level or layout head's logits, with what the mask adds to them; (B, 1, H, W).

        Args:
            part: which part's head.
            layer: the head's number in its part.
            logits_B1HW: what the head says.
            features_BCHW: what it has looked at.
            mask_BKHW: the masks, at any size.
        """
        return logits_B1HW

    def content_vectors(self, features_BCHW: Tensor, mask_BKHW: Tensor) -> Tensor:
        """Features as N content vectors an image, (B, N, C): here one, their global average.

        Args:
            features_BCHW: a feature map.
            mask_BKHW: the masks on its grid.
        """
        return features_BCHW.float().mean((2, 3))[:, None]

    def present(self, mask_BKHW: Tensor) -> Tensor:
        """Which of its content vectors each sample has, (B, N); here the one that all have."""
        return mask_BKHW.new_ones((mask_BKHW.shape[0], 1), dtype=torch.bool)

    def content_decision(
        self,
        logits_BNO: Tensor,
        mask_BKHW: Tensor,
        source_area_K: Tensor,
    ) -> ContentLogits | Tensor:
        """A content head's logits, (B, N, ``outcomes``), as the losses take them.

        Args:
            logits_BNO: of every vector.
            mask_BKHW: the masks on the grid that the vectors were read from.
            source_area_K: share of the source that each class covers.
        """
        return logits_BNO

    def judge_pairs(self, image_BCHW: Tensor, mask_BKHW: Tensor) -> list[Tensor]:
        """Logits of a discriminator of its own on image and mask together, (B, 1, h, w) each."""
        return []
