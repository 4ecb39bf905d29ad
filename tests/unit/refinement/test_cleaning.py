from __future__ import annotations

import numpy as np

from osmis_core.refinement.cleaning import (
    components,
    fill_from_nearest,
    speck_limits,
    without_specks,
)


def test_components_join_objects_across_corners_but_not_the_background():
    labels = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1]], dtype=np.uint8)
    index, areas = components(labels)
    assert sorted(areas.tolist()) == [3, 3, 3]
    assert index[0, 0] == index[1, 1] == index[2, 2]
    assert index[0, 2] != index[2, 0]


def test_components_of_random_labels_cover_and_agree(rng):
    labels = rng.integers(0, 4, (40, 30), dtype=np.uint8)
    index, areas = components(labels)
    assert areas.sum() == labels.size
    assert index.min() == 0
    for component in range(len(areas)):
        assert len(np.unique(labels[index == component])) == 1
    same_right = (labels[:, 1:] == labels[:, :-1]) & (index[:, 1:] != index[:, :-1])
    assert not same_right.any()


def test_specks_go_and_small_true_parts_stay():
    source = np.zeros((60, 60), dtype=np.uint8)
    source[10:40, 10:40] = 1
    source[50:54, 50:54] = 2
    limits = speck_limits(source, 4, clean_fraction=0.5, most_px=20)
    assert limits.tolist() == [20, 20, 8, 0]
    sample = np.zeros((60, 60), dtype=np.uint8)
    sample[10:40, 10:40] = 1
    sample[20:23, 20:23] = 0  # a hole of 9 pixels: a speck of background
    sample[50:53, 50:53] = 2  # 9 pixels of a class whose only part has 16
    sample[5, 50] = 2
    sample[50, 5] = 3  # a class that the source lacks is nobody's speck
    cleaned = without_specks(sample, limits)
    assert (cleaned[10:40, 10:40] == 1).all()
    assert (cleaned[50:53, 50:53] == 2).all()
    assert cleaned[5, 50] == 0
    assert cleaned[50, 5] == 3


def test_gaps_take_the_nearest_label():
    labels = np.array([[1, 9, 9, 9, 2]], dtype=np.uint8)
    filled = fill_from_nearest(labels, labels == 9)
    assert filled[0, :2].tolist() == [1, 1]
    assert filled[0, 3:].tolist() == [2, 2]
    assert labels[0, 1] == 9
    everything = np.ones((1, 5), dtype=bool)
    assert (fill_from_nearest(labels, everything) == labels).all()
