"""The refinement's settings, with the values found by looking at the results."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class RefinementOptions:
    """How samples are refined.

    Attributes:
        mask_weight: β, the weight of the one-hot mask beside colours in [-1, 1].
        completeness: α, mean squared difference a pixel; smaller makes every part of the source
            appear somewhere, larger makes each patch pick its own best match.
        coarse_iterations: exact search + vote rounds at the coarse size, >= 1.
        level_iterations: rounds at every finer level; the first matches the blurred source.
        scale_step: ratio of one pyramid level's size to the one before, > 1.
        vote_sigma_px: width of the Gaussian that weighs overlapping patches.
        final_vote_sigma_px: the same for the very last vote: narrower is sharper.
        coherence: share by which a continued neighbour's match may be worse than the current
            one and still win; keeps copied areas in one piece.
        clean_fraction: components below this share of the smallest proper source component of
            their class count as specks; 0 keeps all.
        threads: row bands worked on at once; None takes the CPUs this process may use. The
            result does not depend on it.
    """

    mask_weight: float = 1.5
    completeness: float = 2.0
    coarse_iterations: int = 1
    level_iterations: int = 2
    scale_step: float = 1.5
    vote_sigma_px: float = 1.4
    final_vote_sigma_px: float = 0.5
    coherence: float = 0.0
    clean_fraction: float = 0.25
    threads: int | None = None

    def __post_init__(self) -> None:
        """Refuses values that have no meaning.

        Raises:
            ValueError: a value is out of its range.
        """
        positive = ("mask_weight", "completeness", "vote_sigma_px", "final_vote_sigma_px")
        for name in positive:
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name} must be positive, not {value}")
        if self.coarse_iterations < 1 or self.level_iterations < 1:
            raise ValueError("at least one iteration is needed at every level")
        if not 1.1 <= self.scale_step <= 4:
            raise ValueError(f"scale_step must lie in [1.1, 4], not {self.scale_step}")
        if not 0 <= self.coherence < 1 or not 0 <= self.clean_fraction <= 1:
            raise ValueError("coherence must lie in [0, 1), clean_fraction in [0, 1]")
        if self.threads is not None and self.threads < 1:
            raise ValueError(f"threads must be at least 1, not {self.threads}")
