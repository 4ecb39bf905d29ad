"""Which of its candidates a sample is: a plausible one, and the least like the samples before it.

Whole objects come easiest where they were in the source, so that the first plausible candidates of
a set resemble one another more than its candidates do; asking for variety brings that back.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from osmis_core.data.pair import U8
from osmis_core.generation import CoarsePair, Sampler
from osmis_core.metrics.masks import foreground_iou, shrink_mask
from osmis_core.pixels import to_classes
from osmis_core.screening import ShapeScreen

CANDIDATES = 96
"""Of every sample, at most."""
USUAL_CANDIDATES = 16
"""No more are drawn where one of them is plausible."""
PLAUSIBLE = 8
"""Candidates to choose from; when there are so many, no more are drawn."""
COMPARED_PX = 48
"""Longest side at which masks are compared."""
COMPARED_WITH = 200
"""Samples before, at most: the last ones."""
REPEATED_IOU = 0.8
"""Foreground IoU with an earlier sample from which on a layout is no new one (as for the source's
own: ``metrics.layout_match``). A generator that shows one layout whole would be asked for it again
and again."""
MILDLY_STRANGE = 1.5
"""Up to here a new layout is preferred to one that is plausible and repeated."""
LEAST_STRANGE_SHARE = 0.25
"""Of the candidates to choose from where all are stranger."""
TRIES = 3
"""Samples in a row without a plausible candidate, after which only the usual number is drawn."""
DECIMALS = 3
"""That count: what another machine computes a little otherwise shall be chosen all the same."""
TOLERANCE = 10.0**-DECIMALS


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Which of its candidates a sample is.

    Attributes:
        candidate: which of the sample's candidates it is, from 0.
        candidates_drawn: how many of them were looked at.
        strangeness: of its objects, up to 1 plausible; None where there was no screen, or where it
            shows no object.
    """

    candidate: int = 0
    candidates_drawn: int = 1
    strangeness: float | None = None

    @property
    def is_plausible(self) -> bool:
        """Whether a screen has passed it."""
        return self.strangeness is not None and self.strangeness <= 1


def draw_samples(
    sampler: Sampler, seed: int, n: int, screen: ShapeScreen | None = None
) -> Iterator[tuple[CoarsePair, Choice]]:
    """Samples 0 … n − 1 of a seed; the same ones begin any longer set.

    With a screen the candidates of sample i are what the sampler draws as i · C … i · C + C − 1.
    """
    if screen is None:
        for coarse in sampler.sample(seed, range(n)):
            yield coarse, Choice()
        return
    before: deque[U8] = deque(maxlen=COMPARED_WITH)
    failed = 0
    for i in range(n):
        count = CANDIDATES if failed < TRIES else USUAL_CANDIDATES
        candidates = sampler.sample(seed, range(i * CANDIDATES, i * CANDIDATES + count))
        coarse, choice = choose(candidates, screen, before)
        failed = 0 if choice.is_plausible else failed + 1
        before.append(_layout(coarse))
        yield coarse, choice


def choose(
    candidates: Iterable[CoarsePair], screen: ShapeScreen, before: Sequence[U8] = ()
) -> tuple[CoarsePair, Choice]:
    """Of the plausible ones that repeat no layout, that which is least like any before.

    Without any, the same of the mildly strange ones; then of the plausible ones, rather a repeated
    layout than a broken one; at last of the least strange.

    Args:
        candidates: none is drawn beyond ``PLAUSIBLE`` such ones, or beyond ``USUAL_CANDIDATES`` if
            there is any.
        screen: what is plausible.
        before: masks of at most ``COMPARED_PX``.

    Raises:
        ValueError: no candidates.
    """
    judged: list[_Judged] = []
    taken: list[_Judged] = []
    for number, coarse in enumerate(candidates):
        enough = 1.0 if taken else math.inf
        strangeness = screen.strangeness(to_classes(coarse.mask_HWK), enough=enough + TOLERANCE)
        likeness = _likeness(coarse, before)
        judged.append(_Judged(round(strangeness, DECIMALS), number, likeness, coarse))
        if judged[-1].strangeness <= 1 and judged[-1].is_new:
            taken.append(judged[-1])
        if taken and (len(taken) == PLAUSIBLE or len(judged) >= USUAL_CANDIDATES):
            break
    if not judged:
        raise ValueError("there is nothing to choose from")
    chosen = min(taken or _second_best(judged), key=lambda each: each.likeness)
    choice = Choice(
        candidate=chosen.number,
        candidates_drawn=len(judged),
        strangeness=chosen.strangeness if math.isfinite(chosen.strangeness) else None,
    )
    return chosen.coarse, choice


class _Judged(NamedTuple):
    """Sorted by strangeness, then by number, which no two share."""

    strangeness: float
    number: int
    likeness: float
    coarse: CoarsePair

    @property
    def is_new(self) -> bool:
        return self.likeness <= REPEATED_IOU


def _second_best(judged: list[_Judged]) -> list[_Judged]:
    mild = [one for one in judged if one.is_new and one.strangeness <= MILDLY_STRANGE]
    plausible = [one for one in judged if one.strangeness <= 1]
    least_strange = sorted(judged)[: math.ceil(LEAST_STRANGE_SHARE * len(judged))]
    return mild or plausible or least_strange


def _layout(coarse: CoarsePair) -> U8:
    return shrink_mask(to_classes(coarse.mask_HWK), COMPARED_PX)


def _likeness(coarse: CoarsePair, before: Sequence[U8]) -> float:
    """Largest foreground IoU with one of the masks."""
    own_HW = _layout(coarse)
    nearest = max((foreground_iou(own_HW, other_HW) for other_HW in before), default=0.0)
    return round(nearest, DECIMALS)
