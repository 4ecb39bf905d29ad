"""Views' own overlap, which samples' is compared with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from torch import Tensor

from osmis_core.data.pair import IGNORE, Pair
from osmis_core.metrics.masks import foreground_iou
from osmis_core.training.config import TrainingConfig
from osmis_core.training.real_pairs import COMPARED_VIEWS, FIRST_COMPARED_VIEW, ViewPairs


@pytest.mark.parametrize("ignored_rows", [0, 6])
def test_views_overlap_as_their_masks_are_measured(
    scene: Pair, make_config: Callable[..., TrainingConfig], ignored_rows: int
) -> None:
    mask_HW = scene.mask_HW.copy()
    mask_HW[:ignored_rows] = IGNORE
    pair = replace(scene, mask_HW=mask_HW)
    size = make_config("projected", 1).size
    pairs = ViewPairs(pair, size, batch_size=2, perceive=lambda images: images, seed=3)
    wanted = range(FIRST_COMPARED_VIEW, FIRST_COMPARED_VIEW + COMPARED_VIEWS)
    masks = [_labels(pairs.views.draw(i)[1]) for i in wanted]
    expected = np.mean([foreground_iou(a, b) for a, b in combinations(masks, 2)])
    assert 0.01 < expected < 0.9
    assert pairs.layout_overlap() == pytest.approx(expected, rel=1e-4)


def _labels(mask_KHW: Tensor) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
    labels_HW: np.ndarray[tuple[int, int], np.dtype[np.uint8]] = (
        mask_KHW.argmax(0).numpy().astype(np.uint8)  # ignored pixels, all-zero, as background
    )
    return labels_HW
