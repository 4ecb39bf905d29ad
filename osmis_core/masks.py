"""Masks as tensors: one class a pixel, in as many planes as there are classes."""

from __future__ import annotations

import torch
from torch import Tensor


def one_hot(labels_BHW: Tensor, like_BKHW: Tensor) -> Tensor:
    """Labels as a mask of the other's classes and type."""
    classes_K11 = torch.arange(like_BKHW.shape[1], device=labels_BHW.device)[:, None, None]
    return (labels_BHW[:, None] == classes_K11).to(like_BKHW)


def argmax_one_hot(mask_BKHW: Tensor) -> Tensor:
    """One-hot of the likeliest class; shape (B, K, H, W)."""
    # max finds the same places as argmax, which takes up to 70 times as long on a CPU
    return one_hot(mask_BKHW.max(1).indices, mask_BKHW)


def hard_mask(shares_KHW: Tensor) -> Tensor:
    """One-hot of each pixel's largest class; all-zero where most of the pixel is ignored."""
    hard_KHW = argmax_one_hot(shares_KHW[None])[0]
    return hard_KHW * (shares_KHW.sum(0, keepdim=True) > 0.5)
