"""Discs as known objects; what is fused, cut or tiny must stand out, and nothing else."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from osmis_core.candidates import (
    CANDIDATES,
    MILDLY_STRANGE,
    PLAUSIBLE,
    TRIES,
    USUAL_CANDIDATES,
    choose,
    draw_samples,
)
from osmis_core.data.pair import U8, Pair
from osmis_core.data.size_plan import plan_size
from osmis_core.generation import CoarsePair
from osmis_core.metrics.masks import shrink_mask
from osmis_core.screening import ShapeScreen, screen_of
from osmis_core.silhouettes import cut_silhouettes, silhouettes

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


def test_cut_silhouettes_are_parts_of_whole_objects() -> None:
    cut = list(cut_silhouettes(_discs((30, 40, 9), (0, 10, 9)), 2, seed=0))
    assert {0 < c.area_px < 260 for c in cut} == {True}
    assert len(cut) == 4
    many = [c for seed in range(30) for c in cut_silhouettes(_discs((30, 40, 9)), 2, seed)]
    assert {c.sides for c in many} == {1, 2, 4, 8, 3, 6, 9, 12}
    half = next(silhouettes(_discs((0, 40, 9)), 2))
    nearest = min(
        np.abs(half.cells_C - c.cells_C).sum() / half.cells_C.sum() for c in many if c.sides == 1
    )
    assert nearest < 0.15


def test_an_object_of_one_row_is_cut_as_well() -> None:
    mask = np.zeros(SHAPE, np.uint8)
    mask[20, 20:40] = 1
    for seed in range(20):
        assert all(c.area_px <= 20 for c in cut_silhouettes(mask, 2, seed))


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize(("gap", "count"), [(0, 1), (1, 1), (2, 2)])
def test_what_is_a_pixel_apart_is_one_object(axis: int, gap: int, count: int) -> None:
    mask = np.zeros(SHAPE, np.uint8)
    mask[10:20, 10:20] = mask[20 + gap : 30 + gap, 15:25] = 1
    mask = mask if axis == 0 else mask.T
    found = list(silhouettes(mask, 2, joined=True))
    assert len(found) == count
    assert len(list(silhouettes(mask, 2))) == (2 if gap else 1)
    assert sum(s.area_px for s in found) == 200


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
        _discs((20, 20, 6), (50, 60, 0.5)),
        _discs((20, 20, 6), (0, 50, 6), (0, 61, 6)),
        _discs((20, 20, 6), (20, 34, 6)),
        _discs((30, 40, 25)),
        _discs((20, 20, 4.5)),
        _discs(*((row, column, 6) for row in (10, 30, 50) for column in (10, 30, 50))),
        np.ones(SHAPE, np.uint8),
    ],
    ids=[
        "fused",
        "one pair fused",
        "half",
        "small",
        "speck",
        "fused at the border",
        "a pixel apart",
        "huge",
        "too few",
        "too many",
        "only object",
    ],
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


def _coarse(mask: U8) -> CoarsePair:
    return CoarsePair(np.zeros((*SHAPE, 3), np.float32), np.eye(2, dtype=np.float32)[mask])


def _candidates(masks: Sequence[U8], drawn: list[int]) -> Iterator[CoarsePair]:
    for number, mask in enumerate(masks):
        drawn.append(number)
        yield _coarse(mask)


FUSED = _discs((20, 20, 6), (20, 30, 6))
EMPTY = np.zeros(SHAPE, np.uint8)


def test_a_plausible_candidate_is_taken_and_no_more_are_drawn_than_are_wanted(
    screen: ShapeScreen,
) -> None:
    whole = [_discs((20, 20, 6), (40, column, 6)) for column in range(40, 40 + PLAUSIBLE)]
    drawn: list[int] = []
    coarse, choice = choose(_candidates([FUSED, *whole, FUSED], drawn), screen)
    assert drawn == list(range(1 + PLAUSIBLE))
    assert (choice.candidate, choice.candidates_drawn) == (1, 1 + PLAUSIBLE)
    assert choice.is_plausible
    np.testing.assert_array_equal(coarse.mask_HWK.argmax(2), whole[0])


@pytest.mark.parametrize("place", [2, USUAL_CANDIDATES + 4])
def test_more_than_usual_are_drawn_until_one_is_plausible(screen: ShapeScreen, place: int) -> None:
    masks = [FUSED] * CANDIDATES
    masks[place] = _discs((20, 20, 6), (40, 40, 6))
    _, choice = choose(_candidates(masks, []), screen)
    assert choice.candidate == place
    assert choice.candidates_drawn == max(USUAL_CANDIDATES, 1 + place)


def test_of_plausible_candidates_the_least_like_those_before_is_taken(screen: ShapeScreen) -> None:
    left, right = _discs((20, 20, 6), (40, 22, 6)), _discs((20, 60, 6), (40, 62, 6))
    middle = _discs((20, 40, 6), (40, 42, 6))
    masks = [left, right, middle]
    before = [shrink_mask(mask, 48) for mask in (left, middle)]
    assert choose(_candidates(masks, []), screen, before)[1].candidate == 1
    assert choose(_candidates(masks, []), screen, before[:1])[1].candidate in {1, 2}
    assert choose(_candidates(masks, []), screen)[1].candidate == 0


def test_of_strange_candidates_the_least_strange_are_chosen_from(screen: ShapeScreen) -> None:
    worse = _discs((20, 10, 6), (20, 20, 6), (20, 30, 6), (20, 40, 6), (20, 50, 6))
    _, choice = choose(_candidates([EMPTY, worse, FUSED, worse], []), screen)
    assert (choice.candidate, choice.candidates_drawn) == (2, 4)
    assert choice.strangeness == pytest.approx(screen.strangeness(FUSED), abs=1e-3)
    assert not choice.is_plausible
    elsewhere = _discs((40, 60, 6), (50, 60, 6))
    eight = [FUSED, elsewhere, *[worse] * 6]
    _, choice = choose(_candidates(eight, []), screen, [shrink_mask(FUSED, 48)])
    assert choice.candidate == 1
    _, nothing = choose(_candidates([EMPTY, EMPTY], []), screen)
    assert (nothing.candidate, nothing.strangeness) == (0, None)
    with pytest.raises(ValueError, match="choose from"):
        choose([], screen)


def test_a_repeated_layout_is_no_choice_while_there_is_another(screen: ShapeScreen) -> None:
    known, new = _discs((20, 20, 6), (40, 22, 6)), _discs((20, 60, 6), (40, 62, 6))
    before = [shrink_mask(known, 48)]
    _, choice = choose(_candidates([known] * 30 + [new] + [known] * 65, []), screen, before)
    assert (choice.candidate, choice.candidates_drawn) == (30, 31)
    assert choice.is_plausible


def test_rather_a_repeated_layout_than_a_broken_one(screen: ShapeScreen) -> None:
    known = _discs((20, 20, 6), (40, 22, 6))
    before = [shrink_mask(known, 48)]
    assert screen.strangeness(FUSED) > MILDLY_STRANGE
    _, choice = choose(_candidates([FUSED, known, FUSED], []), screen, before)
    assert (choice.candidate, choice.is_plausible) == (1, True)


def test_rather_a_mildly_strange_layout_than_a_repeated_one(screen: ShapeScreen) -> None:
    known = _discs((20, 20, 6), (40, 22, 6))
    mild = _discs((20, 60, 4.5), (40, 62, 4.5))
    assert 1 < screen.strangeness(mild) <= MILDLY_STRANGE
    before = [shrink_mask(known, 48)]
    _, choice = choose(_candidates([FUSED, known, mild], []), screen, before)
    assert choice.candidate == 2


class _Hopeless:
    """Draws two discs that are one, and now and then what is plausible."""

    def __init__(self, whole: set[int]) -> None:
        self.whole = whole

    def sample(self, seed: int, indices: range) -> Iterator[CoarsePair]:
        assert seed == 7
        for i in indices:
            yield _coarse(_discs((20, 20, 6), (40, 40, 6)) if i in self.whole else FUSED)


def test_a_generator_of_nothing_plausible_is_asked_for_fewer(screen: ShapeScreen) -> None:
    sampler = _Hopeless({TRIES * CANDIDATES + 5})
    counts = [c.candidates_drawn for _, c in draw_samples(sampler, 7, TRIES + 3, screen)]
    assert counts == [*[CANDIDATES] * TRIES, USUAL_CANDIDATES, CANDIDATES, CANDIDATES]


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
