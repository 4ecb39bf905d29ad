"""Layout measures on masks whose answers are known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from osmis_core.metrics.layout_match import LIMITS, LayoutMatcher, novel_share, novelty, warp
from osmis_core.metrics.masks import (
    class_faults,
    foreground_iou,
    layout_diversity,
    shrink_mask,
)


@pytest.fixture(scope="module")
def source() -> np.ndarray:
    mask = np.zeros((120, 160), np.uint8)
    mask[20:60, 30:70] = 1
    mask[70:100, 90:130] = 2
    mask[80:90, 20:40] = 1
    return mask


@pytest.fixture(scope="module")
def matcher(source: np.ndarray) -> LayoutMatcher:
    return LayoutMatcher(source)


def test_foreground_iou_counts_classes() -> None:
    first = np.array([[0, 1, 1, 2]], np.uint8)
    second = np.array([[0, 1, 2, 2]], np.uint8)
    assert foreground_iou(first, second) == pytest.approx(2 / 3)
    assert foreground_iou(first * 0, second * 0) == 1.0


def test_layout_diversity_is_the_mean_over_pairs() -> None:
    masks = [np.eye(8, dtype=np.uint8), np.eye(8, dtype=np.uint8), np.zeros((8, 8), np.uint8)]
    assert layout_diversity(masks) == pytest.approx(1 / 3)
    with pytest.raises(ValueError, match="two masks"):
        layout_diversity(masks[:1])


def test_layout_diversity_agrees_with_pairwise_iou() -> None:
    rng = np.random.default_rng(0)
    masks = [rng.integers(0, 3, (20, 24)).astype(np.uint8) for _ in range(5)]
    pairs = [foreground_iou(masks[i], masks[j]) for i in range(5) for j in range(i)]
    assert layout_diversity(masks) == pytest.approx(np.mean(pairs), rel=1e-6)


def test_shrinking_keeps_areas_and_treats_ignored_as_background() -> None:
    mask = np.zeros((100, 200), np.uint8)
    mask[25:75, 50:150] = 3
    mask[0] = 255
    small = shrink_mask(mask, 50)
    assert small.shape == (25, 50)
    assert set(np.unique(small)) == {0, 3}
    assert (small == 3).mean() == pytest.approx(0.25, abs=0.02)


@settings(max_examples=12, deadline=None)
@given(st.lists(st.floats(-0.9, 0.9), min_size=5, max_size=5), st.booleans())
def test_augmented_source_is_not_novel(
    source: np.ndarray, matcher: LayoutMatcher, amounts: list[float], flip: bool
) -> None:
    flipped = np.ascontiguousarray(source[:, ::-1]) if flip else source
    parameters = np.array([amounts]) * LIMITS
    moved = warp(flipped, parameters, source.shape)[0].reshape(source.shape)
    match = matcher.match(moved)
    assert match.iou > 0.8
    assert not match.is_novel


def test_other_layouts_are_novel(source: np.ndarray, matcher: LayoutMatcher) -> None:
    other = np.zeros_like(source)
    other[10:40, 10:150] = 2
    other[90:110, 10:150] = 1
    assert matcher.match(other).is_novel
    assert novelty(source, source) == pytest.approx(1.0)
    assert novel_share([source, other], source) == 0.5


def test_wrong_class_is_no_match(source: np.ndarray, matcher: LayoutMatcher) -> None:
    swapped = np.array([0, 2, 1], np.uint8)[source]
    assert matcher.match(swapped).is_novel


def test_class_faults() -> None:
    source = np.zeros((10, 100), np.uint8)
    source[:, 50:90] = 1
    source[:, 90:] = 2
    assert not class_faults(source, source, 3)
    sample = np.zeros_like(source)
    sample[:, 20:83] = 1
    sample[:, 98:] = 2
    faults = class_faults(sample, source, 3)
    assert faults.vanished == (2,)
    assert faults.swallowed == (1,)
    grown = np.zeros_like(source)
    grown[:, 60:] = 2
    assert class_faults(grown, source, 3).swallowed == (2,)
    assert class_faults(grown, source, 3).vanished == (1,)
