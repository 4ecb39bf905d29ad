"""Which of its candidates a sample is: a plausible one, and the least like the samples before it.

Whole objects come easiest where they were in the source, so that the first plausible candidates of
a set resemble one another more than its candidates do; asking for variety brings that back.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from osmis_core.data.pair import U8
from osmis_core.generation import CoarsePair, Sampler
from osmis_core.metrics.masks import foreground_iou, shrink_mask
from osmis_core.pixels import to_classes
from osmis_core.screening import ShapeScreen

CANDIDATES = 16
"""Of every sample, at most."""
PLAUSIBLE = 8
"""Candidates to choose from; when there are so many, no more are drawn."""
COMPARED_PX = 48
"""Longest side at which masks are compared."""
COMPARED_WITH = 200
"""Samples before, at most: the last ones."""
DECIMALS = 3
"""That count: what another machine computes a little otherwise shall be chosen all the same."""


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """A sample as it was drawn.

    Attributes:
        coarse: the pair.
        candidate: which of the sample's candidates it is, from 0.
        candidates_drawn: how many of them were looked at.
        strangeness: of its objects, up to 1 plausible; None where there was no screen, or where it
            shows no object.
    """

    coarse: CoarsePair
    candidate: int = 0
    candidates_drawn: int = 1
    strangeness: float | None = None


def draw_samples(
    sampler: Sampler, seed: int, n: int, screen: ShapeScreen | None = None
) -> Iterator[Drawn]:
    """Samples 0 … n − 1 of a seed; the same ones begin any longer set.

    With a screen the candidates of sample i are what the sampler draws as i · C … i · C + C − 1.
    """
    if screen is None:
        for coarse in sampler.sample(seed, range(n)):
            yield Drawn(coarse=coarse)
        return
    before: deque[U8] = deque(maxlen=COMPARED_WITH)
    for i in range(n):
        candidates = sampler.sample(seed, range(i * CANDIDATES, (i + 1) * CANDIDATES))
        drawn = choose(candidates, screen, before)
        before.append(_layout(drawn.coarse))
        yield drawn


def choose(
    candidates: Iterable[CoarsePair], screen: ShapeScreen, before: Sequence[U8] = ()
) -> Drawn:
    """The plausible one whose layout is least like any before; without any, the least strange.

    Args:
        candidates: none is drawn beyond ``PLAUSIBLE`` plausible ones.
        screen: what is plausible.
        before: masks of at most ``COMPARED_PX``.

    Raises:
        ValueError: no candidates.
    """
    seen: list[tuple[float, CoarsePair]] = []
    plausible: list[int] = []
    for coarse in candidates:
        strangeness = round(screen.strangeness(to_classes(coarse.mask_HWK)), DECIMALS)
        if strangeness <= 1:
            plausible.append(len(seen))
        seen.append((strangeness, coarse))
        if len(plausible) == PLAUSIBLE:
            break
    if not seen:
        raise ValueError("there is nothing to choose from")
    if plausible:
        number = min(plausible, key=lambda i: _likeness(seen[i][1], before))
    else:
        number = min(range(len(seen)), key=lambda i: seen[i][0])
    strangeness, coarse = seen[number]
    return Drawn(
        coarse=coarse,
        candidate=number,
        candidates_drawn=len(seen),
        strangeness=strangeness if math.isfinite(strangeness) else None,
    )


def _layout(coarse: CoarsePair) -> U8:
    return shrink_mask(to_classes(coarse.mask_HWK), COMPARED_PX)


def _likeness(coarse: CoarsePair, before: Sequence[U8]) -> float:
    """Largest foreground IoU with one of the masks."""
    own_HW = _layout(coarse)
    nearest = max((foreground_iou(own_HW, other_HW) for other_HW in before), default=0.0)
    return round(nearest, DECIMALS)
