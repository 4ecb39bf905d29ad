"""Properties of rejection by mean relative distance."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import rankdata

from osmis_core.curation import average_ranks, curate, rejected_count

distances = arrays(
    np.float64,
    st.tuples(st.integers(1, 30), st.integers(1, 4)),
    elements=st.integers(0, 6).map(float),
)
fractions = st.integers(0, 100).map(lambda percent: percent / 100)


@given(st.integers(1, 10_000), fractions)
def test_counts_are_exact(n: int, fraction: float) -> None:
    exact = math.floor(Fraction(round(fraction * 100), 100) * n + Fraction(1, 2))
    assert rejected_count(n, fraction) == min(exact, n - 1)


@settings(deadline=None)
@given(distances, fractions)
def test_rejects_that_many_and_keeps_at_least_one(values: np.ndarray, fraction: float) -> None:
    verdicts = curate(values, fraction)
    rejected = sum(not verdict.kept for verdict in verdicts)
    assert rejected == rejected_count(len(values), fraction)
    assert rejected < len(values)


@given(distances)
def test_ties_share_their_rank(values: np.ndarray) -> None:
    assert average_ranks(values[:, 0]).tolist() == rankdata(values[:, 0]).tolist()


@settings(deadline=None)
@given(distances, fractions, st.data())
def test_monotone(values: np.ndarray, fraction: float, data: st.DataObject) -> None:
    """A sample that gets worse in one layer and is otherwise the same never gets back in."""
    before = curate(values, fraction)
    sample = data.draw(st.integers(0, len(values) - 1))
    layer = data.draw(st.integers(0, values.shape[1] - 1))
    worse = values.copy()
    worse[sample, layer] += data.draw(st.integers(1, 5))
    after = curate(worse, fraction)
    if not before[sample].kept:
        assert not after[sample].kept


@settings(deadline=None)
@given(distances, fractions)
def test_rejected_are_never_better_than_kept(values: np.ndarray, fraction: float) -> None:
    verdicts = curate(values, fraction)
    places = [(verdict.score, i, verdict.kept) for i, verdict in enumerate(verdicts)]
    kept_flags = [kept for *_, kept in sorted(places)]
    assert kept_flags == sorted(kept_flags, reverse=True)


def test_equal_samples_go_by_index() -> None:
    kept = [verdict.kept for verdict in curate(np.ones((10, 3)), 0.3)]
    assert kept == [True] * 7 + [False] * 3


def test_reason_names_the_layer() -> None:
    values = np.array([[1.0, 1.0], [2.0, 2.0], [2.6, 9.0], [2.5, 9.5]])
    verdicts = curate(values, 0.25, ("low", "high"))
    assert verdicts[0].reason == "rank 1 of 4"
    assert [verdict.kept for verdict in verdicts] == [True, True, True, False]
    assert verdicts[3].reason == "worst 25 %: rank 4 of 4; furthest in high"
    assert verdicts[3].ranks == (3.0, 4.0)


def test_far_off_in_one_layer_is_worse_than_a_little_off_in_all() -> None:
    """Mean ranks would keep it: (1, 1, 4) against (4, 4, 3)."""
    values = np.array([[1.0, 1.0, 90.0], [1.01, 1.01, 1.0], [1.02, 1.02, 1.01], [1.03, 1.03, 1.02]])
    assert [verdict.kept for verdict in curate(values, 0.25)] == [False, True, True, True]


def test_scores_are_one_on_average() -> None:
    values = np.random.default_rng(0).exponential(size=(20, 4)) * [1, 10, 100, 1e-6]
    assert np.mean([verdict.score for verdict in curate(values, 0.15)]) == pytest.approx(1)


def test_a_layer_without_distances_says_nothing() -> None:
    values = np.array([[0.0, 2.0], [0.0, 1.0], [0.0, 3.0]])
    assert [verdict.score for verdict in curate(values, 0.0)] == [0.5, 0.25, 0.75]
    assert [verdict.score for verdict in curate(np.empty((3, 0)), 0.0)] == [0, 0, 0]


def test_not_a_number_ranks_last() -> None:
    assert not curate(np.array([[np.nan], [5.0], [1.0]]), 0.34)[0].kept


def test_refuses_nonsense() -> None:
    with pytest.raises(ValueError, match="reject_fraction"):
        curate(np.ones((3, 1)), 1.5)
    with pytest.raises(ValueError, match="samples, layers"):
        curate(np.ones(3), 0.1)
    with pytest.raises(ValueError, match="layer names"):
        curate(np.ones((3, 2)), 0.1, ("one",))
    assert curate(np.ones((0, 2)), 0.1) == []
