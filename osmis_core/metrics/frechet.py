"""Fréchet distance between the feature clouds of two single images (SIFID's formula).

Every spatial position of a layer is one sample of a Gaussian. With centred features X and Y (rows
are positions) divided by √(n - 1),

    d² = ‖Δμ‖² + ‖X‖²_F + ‖Y‖²_F - 2 ‖X Yᵀ‖_*

where ‖·‖_* is the nuclear norm, so no matrix square root is taken. It equals the usual
tr(Σx + Σy - 2 (Σx Σy)^½). The nuclear norm is taken in the smaller of positions and channels: with
fewer positions than channels of X Yᵀ itself, otherwise of Σx^½ Σy^½.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

MIN_POSITIONS = 16
"""A layer with fewer positions says nothing about a distribution and is left out."""
SLICE_POSITIONS = 4096


@contextmanager
def one_thread() -> Iterator[None]:
    """Runs small decompositions on one thread.

    At these sizes (64–2048) a second thread gains little on an idle machine, and on a busy one the
    threads wait for each other at thousands of barriers: 7 s instead of 16 ms for 512 channels.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _centred(features_CN: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (C,) and centred features over √(n - 1), both float64."""
    wide_CN = features_CN.to(torch.float64)
    mean_C = wide_CN.mean(1)
    return mean_C, (wide_CN - mean_C[:, None]) / (features_CN.shape[1] - 1) ** 0.5


def _covariance(features_CN: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (C,) and covariance (C, C), float64; ``features_CN`` may have many positions.

    One pass over slices that stay in the processor's cache. Products run in float32 about the
    first slice's mean, where they are exact to 1e-6 of the largest entry, and are summed and
    brought to the true mean in float64.
    """
    channels, positions = features_CN.shape
    near_C1 = features_CN[:, :SLICE_POSITIONS].mean(1, keepdim=True, dtype=torch.float64).float()
    total_C = torch.zeros(channels, dtype=torch.float64, device=features_CN.device)
    products = torch.zeros(channels, channels, dtype=torch.float64, device=features_CN.device)
    for part in torch.split(features_CN, SLICE_POSITIONS, dim=1):
        centred_CN = part.to(torch.float32) - near_C1
        total_C += centred_CN.sum(1).to(torch.float64)
        products += (centred_CN @ centred_CN.T).to(torch.float64)
    gap_C = total_C / positions
    products -= positions * torch.outer(gap_C, gap_C)
    return near_C1[:, 0].to(torch.float64) + gap_C, products / (positions - 1)


def _root(covariance: Tensor) -> Tensor:
    """Symmetric square root of a positive semi-definite matrix."""
    with one_thread():
        values, vectors = torch.linalg.eigh(covariance)
    root: Tensor = (vectors * values.clamp_min(0).sqrt()) @ vectors.T
    return root


@dataclass(frozen=True, kw_only=True)
class FrechetReference:
    """One layer's features of the source image, ready for many comparisons.

    Attributes:
        mean: (C,), over positions, float64.
        trace: tr Σ.
        centred: (C, N), features about the mean over √(n - 1), kept when positions are few.
        root: (C, C), Σ^½, kept when positions are many.
        positions: number of spatial positions.
    """

    mean: Tensor
    trace: float
    centred: Tensor | None
    root: Tensor | None
    positions: int

    @classmethod
    def of(cls, features_CN: Tensor) -> FrechetReference:
        """Statistics of one layer; ``features_CN`` is (channels, positions).

        Raises:
            ValueError: fewer than two positions.
        """
        channels, positions = features_CN.shape
        if positions < 2:
            raise ValueError(f"A distribution needs at least 2 positions, not {positions}.")
        if positions <= channels:
            mean_C, centred_CN = _centred(features_CN)
            trace = float(centred_CN.square().sum())
            return cls(
                mean=mean_C,
                trace=trace,
                centred=centred_CN,
                root=None,
                positions=positions,
            )
        mean_C, covariance = _covariance(features_CN)
        return cls(
            mean=mean_C,
            trace=float(covariance.trace()),
            centred=None,
            root=_root(covariance),
            positions=positions,
        )

    def distance(self, features_CN: Tensor) -> float:
        """Squared Fréchet distance of another image's features, same channels, ≥ 0."""
        if features_CN.shape[1] > features_CN.shape[0] and self.root is not None:
            mean_C, covariance = _covariance(features_CN)
            trace = float(covariance.trace())
            product = self.root @ covariance @ self.root
            with one_thread():
                values = torch.linalg.eigvalsh((product + product.T) / 2)
            nuclear = float(values.clamp_min(0).sqrt().sum())
        else:
            mean_C, centred_CN = _centred(features_CN)
            trace = float(centred_CN.square().sum())
            # with F Fᵀ = Σ, any such factor gives the same nuclear norm
            factor = self.centred if self.centred is not None else self.root
            assert factor is not None
            with one_thread():
                nuclear = float(torch.linalg.svdvals(factor.T @ centred_CN).sum())
        gap = float((self.mean - mean_C).square().sum())
        return max(0.0, gap + self.trace + trace - 2 * nuclear)


def single_image_frechet(x_CN: Tensor, y_CN: Tensor) -> float:
    """Squared Fréchet distance between two images' features of one layer.

    Args:
        x_CN: features of one image, (channels, positions), any float type.
        y_CN: features of the other, same channels, any number of positions.

    Returns:
        d² ≥ 0; 0 for equal clouds.

    Raises:
        ValueError: channels differ, or fewer than two positions.
    """
    if x_CN.shape[0] != y_CN.shape[0]:
        raise ValueError(f"Channels differ: {x_CN.shape[0]} and {y_CN.shape[0]}.")
    if y_CN.shape[1] < 2:
        raise ValueError(f"A distribution needs at least 2 positions, not {y_CN.shape[1]}.")
    return FrechetReference.of(x_CN).distance(y_CN)
