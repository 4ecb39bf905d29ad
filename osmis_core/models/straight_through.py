"""The mask the discriminator sees: hard in the forward pass, soft in the backward pass."""

from __future__ import annotations

from torch import Tensor

from osmis_core.masks import one_hot


def categorical_one_hot(mask_BKHW: Tensor, uniform_B1HW: Tensor) -> Tensor:
    """One categorical draw a pixel, always one-hot (``projected`` before P₀).

    Args:
        mask_BKHW: class probabilities.
        uniform_B1HW: drawn from [0, 1).
    """
    # the last class takes what rounding leaves of the sum
    passed_BKHW = uniform_B1HW > mask_BKHW.detach().cumsum(1)[:, :-1]
    return one_hot(passed_BKHW.sum(1), mask_BKHW)


def bernoulli_mask(mask_BKHW: Tensor, uniform_BKHW: Tensor) -> Tensor:
    """An independent draw a pixel and channel, as published (``osmis`` before P₀); not one-hot.

    Args:
        mask_BKHW: class probabilities.
        uniform_BKHW: drawn from [0, 1).
    """
    return (uniform_BKHW < mask_BKHW.detach()).to(mask_BKHW)


def straight_through(soft_BKHW: Tensor, hard_BKHW: Tensor) -> Tensor:
    """Y + T(y) − stopgrad(y): T(y) going forward, the gradient of y going back."""
    return soft_BKHW + (hard_BKHW - soft_BKHW).detach()
