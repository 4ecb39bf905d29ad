"""Convolutions beside a change of resolution, as one strided convolution with a larger kernel.

A 3×3 convolution followed by 2×2 average pooling is one 4×4 convolution of stride 2 whose kernel
is the 3×3 kernel averaged over the four places; nearest ×2 followed by 3×3 is one transposed 4×4
convolution of stride 2 whose kernel sums the taps that meet the same pixel. Exact, borders and
bias included, at 4⁄9 of the multiplications; the plain forms are kept for odd sides, for maps too
small to gain, and as the reference of the tests.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from osmis_core.models.spectral import SpectralConv2d

FUSE_UPSAMPLING_FROM = 512
"""Positions of the small map below which the larger kernel costs more than the pixels it saves."""


def conv_then_pool(x_BCHW: Tensor, conv: SpectralConv2d, *, fused: bool = True) -> Tensor:
    """A 3×3 convolution, then 2×2 average pooling: (B, I, H, W) → (B, O, ⌈H/2⌉, ⌈W/2⌉)."""
    if not fused or not _is_even(x_BCHW):
        return halve(F.conv2d(x_BCHW, conv.kernel(), conv.offset(), padding=1))
    return F.conv2d(x_BCHW, conv.kernel(pooling_kernel), conv.offset(), stride=2, padding=1)


def upsample_then_conv(x_BCHW: Tensor, conv: SpectralConv2d, *, fused: bool = True) -> Tensor:
    """Nearest ×2, then a 3×3 convolution: (B, I, H, W) → (B, O, 2H, 2W)."""
    if not fused or x_BCHW.shape[2] * x_BCHW.shape[3] < FUSE_UPSAMPLING_FROM:
        return F.conv2d(nearest_x2(x_BCHW), conv.kernel(), conv.offset(), padding=1)
    kernel_IO44 = conv.kernel(upsampling_kernel)
    return F.conv_transpose2d(x_BCHW, kernel_IO44, conv.offset(), stride=2, padding=1)


def halve(x_BCHW: Tensor) -> Tensor:
    """2×2 average pooling; a side of 1 stays 1, so nothing pools to nothing."""
    if _is_even(x_BCHW):
        halved: Tensor = _Halve.apply(x_BCHW)
        return halved
    return F.avg_pool2d(x_BCHW, 2, ceil_mode=True)


def nearest_x2(x_BCHW: Tensor) -> Tensor:
    """Every pixel four times."""
    return F.interpolate(x_BCHW, scale_factor=2, mode="nearest")


def pooling_kernel(weight_OI33: Tensor) -> Tensor:
    """The mean of the kernel at the four places of a 2×2 window, (O, I, 4, 4)."""
    return F.avg_pool2d(F.pad(weight_OI33, (1, 1, 1, 1)), 2, stride=1)


def upsampling_kernel(weight_OI33: Tensor) -> Tensor:
    """The sums of the taps that meet the same pixel, for a transposed convolution, (I, O, 4, 4)."""
    return (4 * pooling_kernel(weight_OI33)).flip(2, 3).transpose(0, 1)


class _Halve(torch.autograd.Function):
    """2×2 average pooling of even sides; torch's own way back takes twice as long on a CPU."""

    @staticmethod
    def forward(ctx: Any, x_BCHW: Tensor) -> Tensor:  # noqa: ARG004
        return F.avg_pool2d(x_BCHW, 2)

    @staticmethod
    def backward(ctx: Any, gradient_BCHW: Tensor) -> Tensor:  # noqa: ARG004
        return nearest_x2(gradient_BCHW / 4)


def _is_even(x_BCHW: Tensor) -> bool:
    return x_BCHW.shape[2] % 2 == 0 and x_BCHW.shape[3] % 2 == 0
