"""Random values for a batch: each transform is in force with one probability, else neutral."""

from __future__ import annotations

import math

import torch
from torch import Tensor


class BatchDraws:
    """One value per sample of a batch, from one generator; all tensors are on the CPU.

    Args:
        probability: that a transform acts on a sample, independently for each.
        batch: B.
        rng: the only source of randomness.
    """

    def __init__(self, probability: float, batch: int, rng: torch.Generator) -> None:
        self.probability = probability
        self.batch = batch
        self.rng = rng

    def chosen(self, *, halves: bool = False) -> Tensor:
        """Which samples a transform acts on, (B,) of booleans.

        With ``halves`` the probability is that of one of two equal halves of a transform, which
        together act with the full one.
        """
        probability = 1 - math.sqrt(1 - self.probability) if halves else self.probability
        return torch.rand(self.batch, generator=self.rng) < probability

    def gated(self, value_B: Tensor, neutral: float, *, halves: bool = False) -> Tensor:
        """The value where the transform acts, ``neutral`` elsewhere; (B,) or (B, n)."""
        on = self.chosen(halves=halves)
        on = on.reshape(-1, *(1,) * (value_B.ndim - 1))
        return torch.where(on, value_B, torch.full_like(value_B, neutral))

    def normal(self, std: float) -> Tensor:
        """N(0, std²), (B,)."""
        return torch.randn(self.batch, generator=self.rng) * std

    def log2_normal(self, std: float) -> Tensor:
        """2^x with x ~ N(0, std²), (B,)."""
        return torch.exp2(self.normal(std))

    def uniform(self, low: float, high: float) -> Tensor:
        """U(low, high), (B,)."""
        return low + torch.rand(self.batch, generator=self.rng) * (high - low)

    def integers(self, below: int) -> Tensor:
        """Uniform over 0 … below − 1, as floats, (B,)."""
        return torch.randint(0, below, (self.batch,), generator=self.rng).float()
