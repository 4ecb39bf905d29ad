"""The mask the discriminator sees: hard in the forward pass, soft in the backward pass."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def argmax_one_hot(mask_BKHW: Tensor) -> Tensor:
    """One-hot of the likeliest class; shape (B, K, H, W)."""
    return F.one_hot(mask_BKHW.argmax(1), mask_BKHW.shape[1]).permute(0, 3, 1, 2).to(mask_BKHW)


def categorical_one_hot(mask_BKHW: Tensor, rng: torch.Generator) -> Tensor:
    """One categorical draw a pixel, always one-hot (``projected`` before P₀)."""
    uniform_BHW = torch.rand(mask_BKHW[:, :1].shape, generator=rng).to(mask_BKHW.device)
    cumulative_BKHW = mask_BKHW.detach().cumsum(1)
    drawn_BHW = (uniform_BHW > cumulative_BKHW).sum(1).clamp_max(mask_BKHW.shape[1] - 1)
    return F.one_hot(drawn_BHW, mask_BKHW.shape[1]).permute(0, 3, 1, 2).to(mask_BKHW)


def bernoulli_mask(mask_BKHW: Tensor, rng: torch.Generator) -> Tensor:
    """An independent draw a pixel and channel, as published (``osmis`` before P₀); not one-hot."""
    uniform = torch.rand(mask_BKHW.shape, generator=rng).to(mask_BKHW.device)
    return (uniform < mask_BKHW.detach()).to(mask_BKHW)


def straight_through(soft_BKHW: Tensor, hard_BKHW: Tensor) -> Tensor:
    """Y + T(y) − stopgrad(y): T(y) going forward, the gradient of y going back."""
    return soft_BKHW + (hard_BKHW - soft_BKHW).detach()
