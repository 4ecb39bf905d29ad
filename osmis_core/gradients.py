"""Walking back through a graph in parts: a scalar that goes on with given gradients."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def going_on(outputs: list[Tensor], gradients: list[Tensor]) -> Tensor:
    """A scalar, 0, whose gradient in each output is the one given.

    ``backward(outputs, gradients)`` says the same, but imports torch's symbolic shapes to compare
    the sizes: 40 MB of memory for every training.

    Args:
        outputs: where walking back was interrupted.
        gradients: what had been found there; of the same shapes.
    """
    scalar: Tensor = _GoingOn.apply(gradients, *outputs)
    return scalar


class _GoingOn(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gradients: list[Tensor], *outputs: Tensor) -> Tensor:
        ctx.gradients = gradients
        return outputs[0].new_zeros((), dtype=torch.float32)

    @staticmethod
    def backward(ctx: Any, _: Tensor) -> tuple[None, *tuple[Tensor, ...]]:
        gradients, ctx.gradients = ctx.gradients, None
        return (None, *gradients)
