"""``input_concat``: the mask is shown beside the image wherever the image enters."""

from __future__ import annotations

import torch
from torch import Tensor

from osmis_core.models.attention import resize_mask
from osmis_core.models.supervision.base import IMAGE_CHANNELS, MaskSupervision


class InputConcatenation(MaskSupervision):
    """K more input channels: the mask, at coarser scales the share of each cell a class covers.

    Args:
        class_count: K, background included.
    """

    def __init__(self, class_count: int) -> None:
        super().__init__()
        self.input_channels = IMAGE_CHANNELS + class_count

    def inputs(self, images_BCHW: list[Tensor], mask_BKHW: Tensor) -> list[Tensor]:
        """Image and mask in one, at every scale; (B, 3 + K, h, w)."""
        return [beside(image_BCHW, mask_BKHW) for image_BCHW in images_BCHW]


def beside(image_BCHW: Tensor, mask_BKHW: Tensor) -> Tensor:
    """The mask as further channels of the image, at the image's size; (B, 3 + K, H, W)."""
    mask_BKhw = resize_mask(mask_BKHW, *image_BCHW.shape[2:]).to(image_BCHW)
    both = torch.cat((image_BCHW, mask_BKhw), 1)
    return both.contiguous(memory_format=torch.channels_last)
