"""What hands draws over in tests of what takes them: nothing is kept, nothing moved."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch

from osmis_core.augment.features import Take

T = TypeVar("T")


def drawn_by(rng: torch.Generator) -> Take:
    """Draws from one generator."""

    def take(make: Callable[[torch.Generator], T]) -> T:
        return make(rng)

    return take
