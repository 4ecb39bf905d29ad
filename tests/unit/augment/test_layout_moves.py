"""Every move of a scene: what stands where afterwards, and that it is what the mask says."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from osmis_core.augment.layout_moves import (
    Scene,
    copy_background,
    duplicate_object,
    paste_object,
    remove_object,
    swap_background,
)

HEIGHT, WIDTH = 24, 32
CELLS = HEIGHT * WIDTH
SMALL, LARGE = (slice(3, 6), slice(4, 8)), (slice(12, 17), slice(20, 26))
seeds = st.integers(0, 10_000)


def _rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def _mask(*objects: tuple[slice, slice], classes: int = 3) -> np.ndarray:
    """Object i is of class 1 + i mod 2."""
    mask_KHW = np.zeros((classes, HEIGHT, WIDTH), np.float32)
    mask_KHW[0] = 1
    for i, window in enumerate(objects):
        mask_KHW[(slice(None), *window)] = 0
        mask_KHW[(1 + i % (classes - 1), *window)] = 1
    return mask_KHW


def _scene(sample: int = 0) -> Scene:
    return Scene.from_mask(_mask(SMALL, LARGE), sample)


def _was_object(scene: Scene, untouched: Scene) -> np.ndarray:
    """Where the features that stand in the scene were an object's, by label; one-sample batch."""
    return untouched.labels_HW.ravel()[scene.source_HW % CELLS]


def test_a_scene_knows_objects_background_and_its_place_in_the_batch() -> None:
    scene = _scene(sample=2)
    assert scene.objects.tolist() == [1, 2]
    assert scene.labels_HW[SMALL].tolist() == np.full((3, 4), 1).tolist()
    assert int(scene.background_HW.sum()) == CELLS - 12 - 30
    assert np.array_equal(scene.source_HW.ravel(), np.arange(2 * CELLS, 3 * CELLS))


def test_touching_classes_are_one_object_and_ignored_cells_none() -> None:
    mask_KHW = _mask((slice(3, 6), slice(4, 8)), (slice(3, 6), slice(8, 12)))
    mask_KHW[:, 10:12] = 0
    scene = Scene.from_mask(mask_KHW, 0)
    assert scene.objects.tolist() == [1]
    assert not scene.background_HW[10:12].any()
    assert not scene.labels_HW[10:12].any()


def test_objects_too_thin_to_fill_a_cell_are_objects() -> None:
    mask_KHW = _mask(classes=2)
    mask_KHW[:, 5, 3:9] = np.array([0.8, 0.2], np.float32)[:, None]
    scene = Scene.from_mask(mask_KHW, 0)
    assert int((scene.labels_HW == 1).sum()) == 6
    assert not scene.background_HW[5, 3:9].any()


@settings(max_examples=40)
@given(seeds)
def test_a_copied_patch_comes_from_background_and_covers_background(seed: int) -> None:
    scene, untouched = _scene(), _scene()
    copy_background(scene, _rng(seed))
    changed = scene.source_HW != untouched.source_HW
    assert not (_was_object(scene, untouched) != untouched.labels_HW).any()
    assert untouched.background_HW[changed].all()
    offsets = np.unique(scene.source_HW[changed] - untouched.source_HW[changed])
    assert len(offsets) == int(changed.any())  # one patch, moved as a whole
    rows, columns = changed.any(1), changed.any(0)
    assert int(changed.sum()) == int(rows.sum()) * int(columns.sum())


@settings(max_examples=40)
@given(seeds)
def test_swapped_rectangles_are_free_of_objects_and_lose_nothing(seed: int) -> None:
    scene, untouched = _scene(), _scene()
    swap_background(scene, _rng(seed))
    assert np.array_equal(np.sort(scene.source_HW, None), untouched.source_HW.ravel())
    changed = scene.source_HW != untouched.source_HW
    assert untouched.background_HW[changed].all()
    # each of the two stands where the other was
    back = scene.source_HW.ravel()[scene.source_HW.ravel()].reshape(HEIGHT, WIDTH)
    assert np.array_equal(back, untouched.source_HW)


@pytest.mark.parametrize("move", [copy_background, swap_background])
def test_background_moves_happen_where_there_is_room_and_only_there(
    move: Callable[[Scene, np.random.Generator], None],
) -> None:
    happened = 0
    for seed in range(50):
        scene = _scene()
        move(scene, _rng(seed))
        happened += int((scene.source_HW != _scene().source_HW).any())
        crowded = Scene.from_mask(_mask((slice(None), slice(None, None, 3))), 0)
        before = crowded.source_HW.copy()
        move(crowded, _rng(seed))
        assert np.array_equal(crowded.source_HW, before)
    assert happened > 15


@settings(max_examples=40)
@given(seeds)
def test_one_object_of_another_sample_is_pasted_whole(seed: int) -> None:
    scene, empty = (Scene.from_mask(_mask(), 0) for _ in range(2))
    giver = _scene(sample=1)
    paste_object(scene, [empty, giver], _rng(seed))
    pasted = scene.source_HW >= CELLS
    sources = scene.source_HW[pasted] - CELLS
    labels = np.unique(giver.labels_HW.ravel()[sources])
    assert len(labels) == 1  # one object, not all
    assert labels[0] > 0
    whole = np.flatnonzero(giver.labels_HW.ravel() == labels[0])
    assert np.array_equal(np.sort(sources), whole)
    assert np.array_equal(scene.labels_HW > 0, pasted)
    assert not scene.background_HW[pasted].any()
    assert np.array_equal(scene.source_HW[~pasted], empty.source_HW[~pasted])


def test_pasting_reaches_every_object_and_many_places() -> None:
    labels, places = set(), set()
    for seed in range(60):
        scene = Scene.from_mask(_mask(), 0)
        giver = _scene(sample=1)
        paste_object(scene, [giver], _rng(seed))
        pasted = scene.source_HW >= CELLS
        labels.add(int(giver.labels_HW.ravel()[scene.source_HW[pasted][0] - CELLS]))
        places.add(tuple(np.argwhere(pasted)[0]))
    assert labels == {1, 2}
    assert len(places) > 40


@settings(max_examples=40)
@given(seeds)
def test_a_removed_object_leaves_background_and_the_other_object(seed: int) -> None:
    scene, untouched = _scene(), _scene()
    remove_object(scene, _rng(seed))
    assert len(scene.objects) == 1
    gone = (untouched.labels_HW > 0) & (scene.labels_HW == 0)
    assert gone.any()
    assert scene.background_HW[gone].all()
    assert not _was_object(scene, untouched)[gone].any()
    assert np.array_equal(scene.source_HW[~gone], untouched.source_HW[~gone])


@settings(max_examples=20)
@given(seeds)
def test_an_object_that_leaves_little_background_is_removed_whole_too(seed: int) -> None:
    untouched = Scene.from_mask(_mask((slice(1, HEIGHT), slice(0, WIDTH))), 0)
    scene = untouched.copy()
    remove_object(scene, _rng(seed))
    assert not _was_object(scene, untouched).any()


@settings(max_examples=40)
@given(seeds)
def test_a_duplicate_is_a_second_whole_copy_where_no_object_was(seed: int) -> None:
    scene, untouched = _scene(), _scene()
    duplicate_object(scene, _rng(seed))
    changed = scene.source_HW != untouched.source_HW
    assert untouched.background_HW[changed].all()
    counts = np.bincount(_was_object(scene, untouched).ravel(), minlength=3)[1:].tolist()
    assert counts in ([24, 30], [12, 60], [12, 30])  # the last where no place was found
    assert len(scene.objects) == 2 + (counts != [12, 30])


def test_duplicates_are_usual() -> None:
    happened = 0
    for seed in range(50):
        scene = _scene()
        duplicate_object(scene, _rng(seed))
        happened += len(scene.objects) == 3
    assert happened > 45


def test_moves_that_lack_objects_or_background_do_nothing() -> None:
    everywhere = (slice(None), slice(None))
    for mask_KHW in (_mask(), _mask(everywhere)):
        for move in (remove_object, duplicate_object):
            scene = Scene.from_mask(mask_KHW, 0)
            move(scene, _rng(0))
            assert np.array_equal(scene.source_HW, Scene.from_mask(mask_KHW, 0).source_HW)
    scene = Scene.from_mask(_mask(), 0)
    paste_object(scene, [Scene.from_mask(_mask(), 1)], _rng(0))
    assert np.array_equal(scene.source_HW, Scene.from_mask(_mask(), 0).source_HW)


def test_the_smallest_maps_can_be_moved() -> None:
    for height, width in ((1, 1), (1, 3), (2, 4)):
        mask_KHW = np.zeros((2, height, width), np.float32)
        mask_KHW[0], mask_KHW[:, 0, 0] = 1, (0, 1)
        for seed in range(5):
            scene = Scene.from_mask(mask_KHW, 0)
            for move in (copy_background, swap_background, remove_object, duplicate_object):
                move(scene, _rng(seed))
            paste_object(scene, [Scene.from_mask(mask_KHW, 0)], _rng(seed))
            assert set(scene.source_HW.ravel()) <= set(range(height * width))
