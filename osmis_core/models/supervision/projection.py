"""``projection``: the mask conditions each position's decision (Miyato and Koyama, 2018)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from osmis_core.models.attention import resize_mask
from osmis_core.models.spectral import SpectralConv2d
from osmis_core.models.supervision.base import MaskSupervision, Part


class Projection(MaskSupervision):
    """Adds the inner product of the position's features and its class's embedding to its logit.

    The projection discriminator is f(x, y) = yᵀ V φ(x) + ψ(φ(x)); here at every position p of a
    low-level or layout map, Σ_k mask_k(p) ⟨e_k, F(p)⟩ is added to what the head says of F(p).

    Args:
        class_count: K, background included.
        low_level_widths: channels after each low-level block.
        layout_layers: how many layout maps there are, of one channel each.
    """

    def __init__(
        self, class_count: int, *, low_level_widths: Sequence[int], layout_layers: int
    ) -> None:
        super().__init__()
        widths = {"low_level": low_level_widths, "layout": [1] * layout_layers}
        self.embeddings = nn.ModuleDict(
            {
                part: nn.ModuleList(SpectralConv2d(w, class_count, 1, bias=False) for w in of_part)
                for part, of_part in widths.items()
            }
        )

    def decide(
        self,
        part: Part,
        layer: int,
        logits_B1HW: Tensor,
        features_BCHW: Tensor,
        mask_BKHW: Tensor,
    ) -> Tensor:
        """The logits and the projection."""
        embeddings = self.embeddings[part]
        assert isinstance(embeddings, nn.ModuleList)
        products_BKHW: Tensor = embeddings[layer](features_BCHW).float()
        mask_BKhw = resize_mask(mask_BKHW, *features_BCHW.shape[2:]).float()
        projected_B1HW = (mask_BKhw * products_BKHW).sum(1, keepdim=True)
        return logits_B1HW + projected_B1HW
