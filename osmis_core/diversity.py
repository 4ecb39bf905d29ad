"""The diversity regularisation: samples of a batch shall differ, in every block's features.

−λ · mean over blocks and pairs of samples of |tanh f_i − tanh f_j|. On a CPU the pairs are walked
by a compiled loop, elsewhere by tensor operations; both keep nothing but the gradient.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from osmis_core.parallel import RowBands

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
I32 = npt.NDArray[np.int32]
BAND = 1 << 17
"""Positions that one thread walks at a time."""
TILE = 1024
"""Positions that it holds in the cache at a time."""


def diversity_loss(features_BCHW: list[Tensor]) -> Tensor:
    """− mean over blocks and pairs of samples of |tanh f_i − tanh f_j|.

    Args:
        features_BCHW: every block's features, B ≥ 2.
    """
    return -torch.stack([pairwise_spread(f) for f in features_BCHW]).mean()


def pairwise_spread(features_BCHW: Tensor) -> Tensor:
    """Mean of |tanh f_i − tanh f_j| over pairs of samples and over positions; a scalar."""
    spread: Tensor = _PairwiseSpread.apply(features_BCHW)
    return spread


class _PairwiseSpread(torch.autograd.Function):
    """The mean, and on the way its gradient in f_i: Σ_j sign(f_i − f_j) · (1 − tanh² f_i)."""

    @staticmethod
    def forward(ctx: Any, features_BCHW: Tensor) -> Tensor:
        x_BCHW = torch.tanh(features_BCHW.float())
        walk = walk_pairs_compiled if x_BCHW.device.type == "cpu" else walk_pairs
        total, slope_BCHW = walk(x_BCHW)
        ctx.scale = 2.0 / ((x_BCHW.shape[0] - 1) * x_BCHW.numel())
        ctx.save_for_backward(slope_BCHW.to(features_BCHW.dtype))
        scaled: Tensor = total * ctx.scale
        return scaled

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (slope_BCHW,) = ctx.saved_tensors
        out: Tensor = slope_BCHW * (gradient * ctx.scale).to(slope_BCHW.dtype)
        return out


def walk_pairs(x_BCHW: Tensor) -> tuple[Tensor, Tensor]:
    """Σ |x_i − x_j| over pairs, and what its gradient is in the features whose tanh x is.

    Args:
        x_BCHW: tanh of the features, float32; may be overwritten.
    """
    total = x_BCHW.new_zeros(())
    signs_BCHW = torch.zeros_like(x_BCHW)
    for i in range(x_BCHW.shape[0] - 1):
        difference = x_BCHW[i] - x_BCHW[i + 1 :]
        total += difference.abs().sum()
        sign = difference.sign_()
        signs_BCHW[i] += sign.sum(0)
        signs_BCHW[i + 1 :] -= sign
    return total, signs_BCHW * (1 - x_BCHW.square())


def walk_pairs_compiled(x_BCHW: Tensor) -> tuple[Tensor, Tensor]:
    """``walk_pairs`` on a CPU, in place, in one pass over the memory."""
    dense = x_BCHW[0].is_contiguous() or x_BCHW.is_contiguous(memory_format=torch.channels_last)
    slope_BCHW = x_BCHW if dense else x_BCHW.contiguous()
    batch, positions = slope_BCHW.shape[0], slope_BCHW[0].numel()
    x_BN = slope_BCHW.as_strided((batch, positions), (positions, 1)).numpy()
    totals = np.zeros(-(-positions // BAND), np.float64)
    with RowBands(torch.get_num_threads() if len(totals) > 1 else 1) as bands:
        bands.run(_walk, positions, x_BN, totals, band=BAND)
    return torch.tensor(totals.sum(), dtype=torch.float32), slope_BCHW


@numba.njit(cache=True, nogil=True, boundscheck=False)
def _compare(x_T: F32, y_T: F32, signs_x_T: I32, signs_y_T: I32) -> None:
    """Counts, at every position, which of two samples is larger."""
    for t in range(x_T.shape[0]):
        sign = np.int32(x_T[t] > y_T[t]) - np.int32(x_T[t] < y_T[t])
        signs_x_T[t] += sign
        signs_y_T[t] -= sign


@numba.njit(cache=True, nogil=True, fastmath={"reassoc", "contract"}, boundscheck=False)
def _finish(x_T: F32, signs_T: I32) -> np.float32:
    """Σ x_i Σ_j sign(x_i − x_j), a sample's share of Σ |x_i − x_j|; x becomes the slope."""
    share = np.float32(0)
    for t in range(x_T.shape[0]):
        x, signs = x_T[t], np.float32(signs_T[t])
        share += x * signs
        x_T[t] = signs * (np.float32(1) - x * x)
    return share


@numba.njit(cache=True, nogil=True, boundscheck=False)
def _walk(first: int, end: int, x_BN: F32, totals: F64) -> None:
    """One band: Σ |x_i − x_j| into its total, each x replaced by the gradient's slope."""
    batch = x_BN.shape[0]
    signs_BT = np.empty((batch, TILE), np.int32)
    total = 0.0
    for start in range(first, end, TILE):
        count = min(TILE, end - start)
        signs_BT[:] = 0
        for i in range(batch):
            for j in range(i + 1, batch):
                _compare(
                    x_BN[i, start : start + count],
                    x_BN[j, start : start + count],
                    signs_BT[i],
                    signs_BT[j],
                )
        for i in range(batch):
            total += float(_finish(x_BN[i, start : start + count], signs_BT[i]))
    totals[first // BAND] = total
