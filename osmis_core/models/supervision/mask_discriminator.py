"""``mask_discriminator``: a second discriminator, of pairs (SemanticGAN's D_m; Li et al., 2021)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from osmis_core.models.discriminator import BASE_WIDTH, DownBlock
from osmis_core.models.spectral import SpectralConv2d
from osmis_core.models.supervision.base import IMAGE_CHANNELS, MaskSupervision
from osmis_core.models.supervision.concatenation import beside


class MaskDiscriminator(MaskSupervision):
    """Judges patches of image and mask together, beside a discriminator of images alone.

    Built as the low-level part is: residual blocks with a decision head after each, so that it
    judges patches of several sizes. Its adversarial loss is added to the image discriminator's
    with the same weight, and its gradient reaches image and mask.

    Args:
        class_count: K, background included.
        widths: channels after each block.
    """

    def __init__(self, class_count: int, *, widths: Sequence[int]) -> None:
        super().__init__()
        self.from_pair = SpectralConv2d(IMAGE_CHANNELS + class_count, BASE_WIDTH, 3)
        incoming = (BASE_WIDTH, *widths[:-1])
        self.blocks = nn.ModuleList(
            DownBlock(w_in, w_out, first=i == 0)
            for i, (w_in, w_out) in enumerate(zip(incoming, widths, strict=True))
        )
        self.heads = nn.ModuleList(SpectralConv2d(w, 1, 1) for w in widths)

    def judge_pairs(self, image_BCHW: Tensor, mask_BKHW: Tensor) -> list[Tensor]:
        """Logits after every block, finest first; (B, 1, h, w) each."""
        x_BCHW = self.from_pair(beside(image_BCHW, mask_BKHW))
        decisions = []
        for block, head in zip(self.blocks, self.heads, strict=True):
            x_BCHW = block(x_BCHW)
            decisions.append(head(x_BCHW).float())
        return decisions
