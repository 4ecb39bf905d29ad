"""A frozen convolution with its batch norm folded in, padded as TensorFlow's "same"."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

BATCH_NORM_EPS = 1e-3


class FoldedConv(nn.Module):
    """Weights and batch norm of a state dict as one convolution without parameters.

    With stride 2 and even sides the padding falls on the right and the bottom.

    Args:
        state: the state dict.
        conv: prefix of the convolution's weight in it.
        norm: prefix of the batch norm's statistics.
        stride: 1 or 2.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, state: dict[str, Tensor], conv: str, norm: str, stride: int) -> None:
        super().__init__()
        weight = state[f"{conv}.weight"]
        scale = state[f"{norm}.weight"] / torch.sqrt(state[f"{norm}.running_var"] + BATCH_NORM_EPS)
        folded = (weight * scale[:, None, None, None]).contiguous(memory_format=torch.channels_last)
        self.register_buffer("weight", folded, persistent=False)
        shift = state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * scale
        self.register_buffer("bias", shift, persistent=False)
        self.stride = stride
        self.groups = weight.shape[0] if weight.shape[1] == 1 else 1
        self.kernel = weight.shape[2]

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Convolves."""
        if self.stride == 1:
            return self._convolve(x_BCHW, self.weight, self.kernel // 2)
        height, width = x_BCHW.shape[2:]
        if height % 2 or width % 2:
            padded = F.pad(x_BCHW, (*self._same_padding(width), *self._same_padding(height)))
            return self._convolve(padded, self.weight, 0)
        if self.groups > 1 and not x_BCHW.is_cuda:
            reduced: Tensor = _StridedDepthwise.apply(
                x_BCHW, self.weight.to(x_BCHW.dtype), self.bias.to(x_BCHW.dtype)
            )
            return reduced
        return self._convolve(x_BCHW, _evened(self.weight), self.kernel // 2)

    def _convolve(self, x_BCHW: Tensor, weight: Tensor, padding: int) -> Tensor:
        return F.conv2d(x_BCHW, weight, self.bias, self.stride, padding, groups=self.groups)

    def _same_padding(self, size: int) -> tuple[int, int]:
        total = max((-(-size // self.stride) - 1) * self.stride + self.kernel - size, 0)
        return total // 2, total - total // 2


class _StridedDepthwise(torch.autograd.Function):
    """A frozen depthwise convolution of stride 2 on even sides, padded as "same".

    Its own way back takes a CPU ten times as long as the whole way forth and back of one of
    stride 1. So the gradient is written onto every other pixel of a map of zeros, and convolved
    with the flipped kernel.
    """

    @staticmethod
    def forward(ctx: Any, x_BCHW: Tensor, weight_C1kk: Tensor, bias_C: Tensor) -> Tensor:
        ctx.weight_C1kk = weight_C1kk
        half, groups = weight_C1kk.shape[2] // 2, weight_C1kk.shape[0]
        return F.conv2d(x_BCHW, _evened(weight_C1kk), bias_C, 2, half, groups=groups)

    @staticmethod
    def backward(ctx: Any, gradient_BChw: Tensor) -> tuple[Tensor, None, None]:
        flipped_C1kk = ctx.weight_C1kk.flip(2, 3)
        batch, channels, height, width = gradient_BChw.shape
        apart_BHWC = gradient_BChw.new_zeros((batch, 2 * height, 2 * width, channels))
        apart_BCHW = apart_BHWC.permute(0, 3, 1, 2)
        apart_BCHW[:, :, 1::2, 1::2] = gradient_BChw
        half = flipped_C1kk.shape[2] // 2
        of_x_BCHW = F.conv2d(apart_BCHW, flipped_C1kk, None, 1, half, groups=channels)
        return of_x_BCHW, None, None


def _evened(weight_OIkk: Tensor) -> Tensor:
    """The kernel with a row and a column of zeros before it: "same" padding becomes symmetric."""
    return F.pad(weight_OIkk, (1, 0, 1, 0))
