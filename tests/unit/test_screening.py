"""Discs as known objects; what is fused, cut or tiny must stand out, and nothing else."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from osmis_core.candidates import PLAUSIBLE, choose
from osmis_core.data.pair import U8, Pair
from osmis_core.data.size_plan import plan_size
from osmis_core.generation import CoarsePair
from osmis_core.metrics.masks import shrink_mask
from osmis_core.screening import ShapeScreen, screen_of, silhouettes

SHAPE = (64, 80)
Disc = tuple[float, float, float]


def _discs(*discs: Disc) -> U8:
    """A mask with discs of (row, column, radius)."""
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    return np.logical_or.reduce(
        [(y - row) ** 2 + (x - column) ** 2 <= radius**2 for row, column, radius in discs]
    ).astype(np.uint8)


def _scattered(seed: int) -> U8:
    """Three discs of radius 4 to 8 that don't touch, some of them cut off by the frame."""
    rng = np.random.default_rng(seed)
    return _discs(
        *(
            (rng.uniform(4, 60), 13 + 27 * i + rng.uniform(-4, 4), rng.uniform(4, 8))
            for i in range(3)
        )
    )


@pytest.fixture(scope="module")
def screen() -> ShapeScreen:
    return ShapeScreen([_scattered(seed) for seed in range(120)], 2)


def test_silhouettes_are_free_of_place_and_size() -> None:
    (small,), (large,) = (silhouettes(_discs(d), 2) for d in ((20, 20, 8), (33, 51, 16)))
    assert (small.sides, large.sides) == (0, 0)
    assert large.area_px == pytest.approx(4 * small.area_px, rel=0.05)
    unlike = np.abs(small.cells_C - large.cells_C).sum() / (small.cells_C + large.cells_C).sum()
    assert unlike < 0.05


def test_silhouettes_tell_classes_and_sides() -> None:
    mask = _discs((0, 40, 10))
    mask[:, 40:] *= 2
    (found,) = silhouettes(mask, 3)
    left, right = found.cells_C.reshape(2, 16, 16)
    assert found.sides == 1
    assert left[:, 8:].sum() < 0.2 * left.sum()
    assert right[:, :8].sum() < 0.2 * right.sum()


def test_other_scenes_of_the_same_objects_are_plausible(screen: ShapeScreen) -> None:
    strangeness = [screen.strangeness(_scattered(seed)) for seed in range(1000, 1060)]
    assert np.mean(np.array(strangeness) <= 1) > 0.85


@pytest.mark.parametrize(
    "spoiled",
    [
        _discs((20, 20, 6), (20, 30, 6)),
        _discs((20, 20, 6), (50, 60, 6), (50, 71, 6)),
        _discs((20, 20, 6)) * (np.arange(SHAPE[0])[:, None] < 20),
        _discs((20, 20, 6), (50, 50, 1)),
        _discs((30, 40, 25)),
        _discs((20, 20, 4.5)),
        _discs(*((row, column, 6) for row in (10, 30, 50) for column in (10, 30, 50))),
        np.ones(SHAPE, np.uint8),
    ],
    ids=["fused", "one pair fused", "half", "speck", "huge", "too few", "too many", "only object"],
)
def test_one_strange_object_is_enough(screen: ShapeScreen, spoiled: U8) -> None:
    assert screen.strangeness(spoiled) > 1.1


def test_no_object_at_all_is_strangest(screen: ShapeScreen) -> None:
    assert screen.strangeness(np.zeros(SHAPE, np.uint8)) == math.inf


def test_without_a_class_shapes_still_decide() -> None:
    """A class that a generator has lost must not put the screen out of action."""
    known = [_scattered(seed) for seed in range(60)]
    for mask in known:
        mask[30:33, 38:41] = 2
    screen = ShapeScreen(known, 3)
    fused, whole = _discs((20, 20, 6), (20, 30, 6)), _discs((20, 20, 6), (40, 60, 6))
    assert 1 < screen.strangeness(whole) < math.inf
    assert screen.strangeness(fused) >= screen.strangeness(whole)


def test_another_size_is_refused(screen: ShapeScreen) -> None:
    with pytest.raises(ValueError, match=r"\(64, 80\).*\(32, 40\)"):
        screen.strangeness(np.zeros((32, 40), np.uint8))


def _candidates(masks: Sequence[U8], drawn: list[int]) -> Iterator[CoarsePair]:
    for number, mask in enumerate(masks):
        drawn.append(number)
        yield CoarsePair(np.zeros((*SHAPE, 3), np.float32), np.eye(2, dtype=np.float32)[mask])


def test_a_plausible_candidate_is_taken_and_no_more_are_drawn_than_are_wanted(
    screen: ShapeScreen,
) -> None:
    fused = _discs((20, 20, 6), (20, 30, 6))
    whole = [_discs((20, 20, 6), (40, column, 6)) for column in range(40, 40 + PLAUSIBLE)]
    drawn: list[int] = []
    found = choose(_candidates([fused, *whole, fused], drawn), screen)
    assert drawn == list(range(1 + PLAUSIBLE))
    assert (found.candidate, found.candidates_drawn) == (1, 1 + PLAUSIBLE)
    assert found.strangeness is not None
    assert found.strangeness <= 1
    np.testing.assert_array_equal(found.coarse.mask_HWK.argmax(2), whole[0])


def test_of_plausible_candidates_the_least_like_those_before_is_taken(screen: ShapeScreen) -> None:
    left, right = _discs((20, 20, 6), (40, 22, 6)), _discs((20, 60, 6), (40, 62, 6))
    middle = _discs((20, 40, 6), (40, 42, 6))
    candidates = [left, right, middle]
    before = [shrink_mask(mask, 48) for mask in (left, middle)]
    assert choose(_candidates(candidates, []), screen, before).candidate == 1
    assert choose(_candidates(candidates, []), screen, before[:1]).candidate in {1, 2}
    assert choose(_candidates(candidates, []), screen).candidate == 0


def test_of_strange_candidates_the_least_strange_is_taken(screen: ShapeScreen) -> None:
    empty, fused = np.zeros(SHAPE, np.uint8), _discs((20, 20, 6), (20, 30, 6))
    worse = _discs((20, 10, 6), (20, 20, 6), (20, 30, 6), (20, 40, 6), (20, 50, 6))
    found = choose(_candidates([empty, worse, fused, worse], []), screen)
    assert (found.candidate, found.candidates_drawn) == (2, 4)
    assert found.strangeness == pytest.approx(screen.strangeness(fused), abs=1e-3)
    nothing = choose(_candidates([empty, empty], []), screen)
    assert (nothing.candidate, nothing.strangeness) == (0, None)
    with pytest.raises(ValueError, match="choose from"):
        choose([], screen)


def _pair(mask_HW: U8) -> Pair:
    image_HW = (60 + 120 * mask_HW).astype(np.uint8)
    return Pair(
        image_HWC=np.dstack([image_HW] * 3),
        mask_HW=mask_HW,
        class_names=("background", "disc"),
        is_grey=True,
        encoding="index",
        encoding_declared=True,
    )


def test_a_pairs_screen_knows_its_objects_elsewhere() -> None:
    pair = _pair(_discs((20, 20, 7), (40, 60, 5)))
    screen = screen_of(pair, plan_size(*SHAPE), seed=0)
    assert screen is not None
    assert screen.strangeness(_discs((40, 30, 7), (14, 55, 5))) <= 1.2
    assert screen.strangeness(_discs((40, 30, 7), (40, 40, 5))) > 2


@pytest.mark.parametrize("size", [0, 2])
def test_a_pair_without_objects_to_compare_has_no_screen(size: int) -> None:
    """One that is a speck where it is trained, too."""
    mask = np.zeros((512, 640), np.uint8)
    mask[100 : 100 + size, 200 : 200 + size] = 1
    assert screen_of(_pair(mask), plan_size(512, 640, longest_px=80), seed=0) is None
