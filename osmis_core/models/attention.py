"""Masked content attention (MCA): one content vector a class, read off the features by the mask."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

HALF_A_CELL = 0.5


def resize_mask(mask_BKHW: Tensor, height: int, width: int) -> Tensor:
    """The mask on a feature map's grid: the share of each cell that each class covers."""
    if mask_BKHW.shape[2:] == (height, width):
        return mask_BKHW
    rows, columns = mask_BKHW.shape[2] // height, mask_BKHW.shape[3] // width
    if mask_BKHW.shape[2:] == (height * rows, width * columns):
        return F.avg_pool2d(mask_BKHW, (rows, columns))  # the same, several times as fast
    return F.interpolate(mask_BKHW, size=(height, width), mode="area")


def masked_content_attention(
    features_BCHW: Tensor, mask_BKHW: Tensor, *, masked_mean: bool = True
) -> Tensor:
    """Content vectors, equation (4): the features under each class's mask, averaged.

    Args:
        features_BCHW: a feature map.
        mask_BKHW: the mask on the same grid, each cell's class shares.
        masked_mean: divide by the class's area, at least half a cell, instead of by all
            positions as the equation is published. The divisor carries its gradient: a pixel is
            then judged by how it differs from its class's mean, not by how long it makes the
            vector, which would fill the image with one class.

    Returns:
        Vectors of shape (B, K, C).
    """
    features_BNC = features_BCHW.permute(0, 2, 3, 1).flatten(1, 2)
    mask_BKN = mask_BKHW.flatten(2)
    sums_BKC = (mask_BKN.to(features_BNC.dtype) @ features_BNC).float()
    if masked_mean:
        area_BK1 = mask_BKN.float().sum(2, keepdim=True).clamp_min(HALF_A_CELL)
        return sums_BKC / area_BK1
    return sums_BKC / features_BNC.shape[1]
