"""Independent random streams from one seed."""

from __future__ import annotations

import numpy as np
import torch


def stream(seed: int, purpose: int, step: int) -> torch.Generator:
    """A generator that is a function of (seed, purpose, step); any non-negative seed will do."""
    state = np.random.SeedSequence([seed, purpose, step]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0] >> np.uint64(1)))
