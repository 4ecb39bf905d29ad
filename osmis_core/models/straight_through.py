"""The mask the discriminator sees: hard in the forward pass, soft in the backward pass."""

from __future__ import annotations

import torch
from torch import Tensor


def argmax_one_hot(mask_BKHW: Tensor) -> Tensor:
    """One-hot of the likeliest class; shape (B, K, H, W)."""
    # max finds the same places as argmax, which takes up to 70 times as long on a CPU
    return one_hot(mask_BKHW.max(1).indices, mask_BKHW)


def categorical_one_hot(mask_BKHW: Tensor, rng: torch.Generator) -> Tensor:
    """One categorical draw a pixel, always one-hot (``projected`` before P₀)."""
    uniform_B1HW = torch.rand(mask_BKHW[:, :1].shape, generator=rng).to(mask_BKHW.device)
    # the last class takes what rounding leaves of the sum
    passed_BKHW = uniform_B1HW > mask_BKHW.detach().cumsum(1)[:, :-1]
    return one_hot(passed_BKHW.sum(1), mask_BKHW)


def one_hot(labels_BHW: Tensor, like_BKHW: Tensor) -> Tensor:
    """Labels as a mask of the other's classes and type."""
    classes_K11 = torch.arange(like_BKHW.shape[1], device=labels_BHW.device)[:, None, None]
    return (labels_BHW[:, None] == classes_K11).to(like_BKHW)


def bernoulli_mask(mask_BKHW: Tensor, rng: torch.Generator) -> Tensor:
    """An independent draw a pixel and channel, as published (``osmis`` before P₀); not one-hot."""
    uniform = torch.rand(mask_BKHW.shape, generator=rng).to(mask_BKHW.device)
    return (uniform < mask_BKHW.detach()).to(mask_BKHW)


def straight_through(soft_BKHW: Tensor, hard_BKHW: Tensor) -> Tensor:
    """Y + T(y) − stopgrad(y): T(y) going forward, the gradient of y going back."""
    return soft_BKHW + (hard_BKHW - soft_BKHW).detach()
