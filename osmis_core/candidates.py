"""Which of its candidates a sample is: the first plausible one, or the least strange."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from osmis_core.generation import CoarsePair, Sampler
from osmis_core.screening import ShapeScreen

CANDIDATES = 16
"""Of every sample, at most."""


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """A sample as it was drawn.

    Attributes:
        coarse: the pair.
        candidate: which of the sample's candidates it is, from 0.
        candidates_drawn: how many of them were looked at.
        strangeness: of its objects' shapes, up to 1 plausible; None where there was no screen, or
            where it shows no object.
    """

    coarse: CoarsePair
    candidate: int = 0
    candidates_drawn: int = 1
    strangeness: float | None = None

    @property
    def is_plausible(self) -> bool:
        """Whether it passed the screen."""
        return self.strangeness is not None and self.strangeness <= 1


def draw_samples(
    sampler: Sampler, seed: int, n: int, screen: ShapeScreen | None = None
) -> Iterator[Drawn]:
    """Samples 0 … n − 1 of a seed.

    With a screen the candidates of sample i are what the sampler draws as i · C … i · C + C − 1, so
    that it stays a function of (checkpoint, seed, i) alone.
    """
    if screen is None:
        for coarse in sampler.sample(seed, range(n)):
            yield Drawn(coarse=coarse)
        return
    for i in range(n):
        candidates = sampler.sample(seed, range(i * CANDIDATES, (i + 1) * CANDIDATES))
        yield choose(candidates, screen)


def choose(candidates: Iterable[CoarsePair], screen: ShapeScreen) -> Drawn:
    """The first that is plausible, else the least strange; none is drawn beyond the one chosen.

    Raises:
        ValueError: no candidates.
    """
    best: Drawn | None = None
    least, number = math.inf, 0
    for number, coarse in enumerate(candidates):
        strangeness = screen.strangeness(coarse.mask_HWK.argmax(2).astype(np.uint8))
        if best is None or strangeness < least:
            least = strangeness
            shows_objects = math.isfinite(strangeness)
            best = Drawn(
                coarse=coarse,
                candidate=number,
                strangeness=strangeness if shows_objects else None,
            )
        if best.is_plausible:
            break
    if best is None:
        raise ValueError("there is nothing to choose from")
    return replace(best, candidates_drawn=number + 1)
