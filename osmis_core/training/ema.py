"""Exponential moving average of the generator, with a half-life that grows with the run."""

from __future__ import annotations

import torch
from torch import nn

LONGEST_HALF_LIFE_SAMPLES = 34_700
"""β = 0.9999 at batch 5, the published average."""


def ema_decay(samples_seen: int, batch_size: int, ramp: float) -> float:
    """β = 0.5^(B / max(h, B)) with h = min(34 700, ramp · samples seen)."""
    half_life = min(LONGEST_HALF_LIFE_SAMPLES, ramp * samples_seen)
    return float(0.5 ** (batch_size / max(half_life, batch_size)))


@torch.no_grad()
def update_ema(average: nn.Module, model: nn.Module, decay: float) -> None:
    """Moves the average's parameters towards the model's; buffers are copied."""
    torch._foreach_lerp_(list(average.parameters()), list(model.parameters()), 1 - decay)
    torch._foreach_copy_(list(average.buffers()), list(model.buffers()))
