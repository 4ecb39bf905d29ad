"""Which generated samples to keep: average the distance over the layers, rank, drop the worst.

The paper's rejection (its section 4) averages each sample's *rank* over the layers and drops the
worst share r. A rank says nothing of how much worse: a sample far off in one layer and ordinary in
the others stays. Here the distances themselves are averaged, each layer's relative to the set's
mean, and the samples are ranked by that (docs/adr/0006). numpy only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

F64 = npt.NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What curation decided about one sample.

    Attributes:
        kept: it stays in the set.
        score: mean over the layers of the distance ÷ the set's mean distance; lower is better.
        ranks: rank in each layer, 1 is nearest to the source, ties averaged.
        reason: why, in words.
    """

    kept: bool
    score: float
    ranks: tuple[float, ...]
    reason: str


def rejected_count(n: int, reject_fraction: float) -> int:
    """⌊r·n + ½⌋, at most n - 1; r as it is written, so 0.29 of 50 is 14.5 and gives 15.

    Raises:
        ValueError: ``reject_fraction`` outside [0, 1], or n negative.
    """
    if not 0 <= reject_fraction <= 1:
        raise ValueError(f"reject_fraction must be in [0, 1], not {reject_fraction}.")
    if n < 0:
        raise ValueError(f"n must not be negative: {n}.")
    wanted = math.floor(Fraction(str(float(reject_fraction))) * n + Fraction(1, 2))
    return max(0, min(wanted, n - 1))


def average_ranks(values_N: F64) -> F64:
    """Ranks from 1, equal values share the mean of their places; not-a-number ranks last."""
    finite_N = np.where(np.isnan(values_N), np.inf, values_N)
    _, inverse, counts = np.unique(finite_N, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return ((last - counts + 1 + last) / 2.0)[inverse].astype(np.float64)


def relative_distances(distances_NL: F64) -> F64:
    """Each distance ÷ the mean of its layer over the set; not-a-number becomes infinite.

    A layer in which all samples lie on the source (mean 0) gives 0 to each.
    """
    finite = np.isfinite(distances_NL)
    totals_L = np.where(finite, distances_NL, 0.0).sum(0)
    means_L = totals_L / np.maximum(finite.sum(0), 1)
    scaled_NL = distances_NL / np.where(means_L > 0, means_L, 1.0)
    return np.where(finite, scaled_NL, np.inf).astype(np.float64)


def curate(
    distances_NL: npt.ArrayLike,
    reject_fraction: float,
    layer_names: Sequence[str] = (),
) -> list[Verdict]:
    """Ranks n samples by mean relative distance and rejects the worst ⌊r·n + ½⌋.

    At least one is kept.

    Args:
        distances_NL: distance of every sample to the source in every layer, (n, L).
        reject_fraction: r in [0, 1].
        layer_names: L names for the reasons; numbered from 1 when left out.

    Returns:
        One verdict a sample, in the order given. Of equal scores the lower index stays.

    Raises:
        ValueError: wrong shapes or fraction.
    """
    distances = np.asarray(distances_NL, dtype=np.float64)
    if distances.ndim != 2:
        raise ValueError(f"distances must be (samples, layers), not {distances.shape}.")
    n, layer_count = distances.shape
    names = tuple(layer_names) or tuple(f"layer {i + 1}" for i in range(layer_count))
    if len(names) != layer_count:
        raise ValueError(f"{len(names)} layer names for {layer_count} layers.")
    rejections = rejected_count(n, reject_fraction)
    if n == 0:
        return []
    relative_NL = relative_distances(distances)
    scores_N = relative_NL.mean(1) if layer_count else np.zeros(n)
    ranks_NL = np.empty((n, layer_count))
    for layer in range(layer_count):
        ranks_NL[:, layer] = average_ranks(distances[:, layer])
    place_N = np.empty(n, dtype=np.int64)
    place_N[np.lexsort((np.arange(n), scores_N))] = np.arange(1, n + 1)
    verdicts = []
    for index in range(n):
        kept = bool(place_N[index] <= n - rejections)
        reason = f"rank {place_N[index]} of {n}"
        if not kept:
            share = f"{100 * reject_fraction:g} %"
            reason = f"worst {share}: {reason}{_furthest(relative_NL[index], names)}"
        verdicts.append(
            Verdict(
                kept=kept,
                score=float(scores_N[index]),
                ranks=tuple(float(rank) for rank in ranks_NL[index]),
                reason=reason,
            )
        )
    return verdicts


def _furthest(relative_L: F64, names: tuple[str, ...]) -> str:
    if not names:
        return ""
    return f"; furthest in {names[int(np.argmax(relative_L))]}"
