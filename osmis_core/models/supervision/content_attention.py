"""``mca``: masked content attention, the paper's own (equation (4))."""

from __future__ import annotations

from torch import Tensor

from osmis_core.models.attention import HALF_A_CELL, masked_content_attention
from osmis_core.models.judgement import ContentLogits
from osmis_core.models.supervision.base import MaskSupervision


class MaskedContentAttention(MaskSupervision):
    """A content vector for each class, which has to be recognised as its class, or is fake.

    Args:
        class_count: K, background included.
        masked_mean: vectors divided by the class's area instead of by all positions.
    """

    sees_layouts = True

    def __init__(self, class_count: int, *, masked_mean: bool) -> None:
        super().__init__()
        self.class_count = class_count
        self.masked_mean = masked_mean

    @property
    def outcomes(self) -> int:
        """K identities and "fake"."""
        return self.class_count + 1

    def content_vectors(self, features_BCHW: Tensor, mask_BKHW: Tensor) -> Tensor:
        """The features under each class's mask, averaged; (B, K, C)."""
        return masked_content_attention(features_BCHW, mask_BKHW, masked_mean=self.masked_mean)

    def present(self, mask_BKHW: Tensor) -> Tensor:
        """Which classes each sample shows, (B, K)."""
        return mask_BKHW.detach().sum((2, 3)) > 0

    def content_decision(
        self, logits_BNO: Tensor, mask_BKHW: Tensor, source_area_K: Tensor
    ) -> ContentLogits:
        """With which classes are there, and which are large enough to be seen on this grid."""
        cells = mask_BKHW.shape[2] * mask_BKHW.shape[3]
        return ContentLogits(
            logits_BNO, self.present(mask_BKHW), source_area_K * cells >= HALF_A_CELL
        )
