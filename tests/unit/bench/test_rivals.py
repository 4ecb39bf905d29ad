from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from bench.quality.augmented import augmented_samples
from bench.quality.copy_paste import copy_paste_samples
from bench.quality.patches import patch_samples
from bench.quality.setup import U8
from osmis_core.data.pair import Pair

Rival = Callable[[Pair, int, int], Iterator[tuple[U8, U8]]]
RIVALS = (augmented_samples, copy_paste_samples, patch_samples)


@pytest.mark.parametrize("rival", RIVALS)
def test_makes_pairs_of_the_source_s_size_and_classes(rival: Rival, scene: Pair) -> None:
    samples = list(rival(scene, 0, 6))
    assert len(samples) == 6
    for image_HWC, mask_HW in samples:
        assert image_HWC.shape == scene.image_HWC.shape
        assert image_HWC.dtype == mask_HW.dtype == np.uint8
        assert mask_HW.shape == scene.mask_HW.shape
        assert set(np.unique(mask_HW)) <= {0, 1, 2}
    seen = np.unique(np.stack([mask_HW for _, mask_HW in samples]))
    assert seen.tolist() == [0, 1, 2]


@pytest.mark.parametrize("rival", RIVALS)
def test_is_decided_by_the_seed(rival: Rival, scene: Pair) -> None:
    first, again, other = (list(rival(scene, seed, 2)) for seed in (3, 3, 4))
    for (image_HWC, mask_HW), (same_HWC, same_HW) in zip(first, again, strict=True):
        np.testing.assert_array_equal(image_HWC, same_HWC)
        np.testing.assert_array_equal(mask_HW, same_HW)
    assert any((a != b).any() for (_, a), (_, b) in zip(first, other, strict=True))


@pytest.mark.parametrize("rival", [copy_paste_samples, patch_samples])
def test_a_sample_does_not_depend_on_how_many_are_made(rival: Rival, scene: Pair) -> None:
    few, many = list(rival(scene, 0, 1)), list(rival(scene, 0, 3))
    np.testing.assert_array_equal(few[0][0], many[0][0])


def test_pasted_pixels_carry_their_class(scene: Pair) -> None:
    samples = list(copy_paste_samples(scene, 1, 8))
    image_NHWC = np.stack([image_HWC for image_HWC, _ in samples]).astype(int)
    mask_NHW = np.stack([mask_HW for _, mask_HW in samples])
    redness_NHW = image_NHWC[..., 0] - image_NHWC[..., 2]
    # resampling mixes in what lies around an object at its very rim
    assert (redness_NHW[mask_NHW == 1] > 40).mean() > 0.97
    assert (redness_NHW[mask_NHW == 2] < -40).mean() > 0.97
    assert (np.abs(redness_NHW[mask_NHW == 0]) > 80).mean() < 0.01


def test_the_background_has_no_object_left(scene: Pair) -> None:
    samples = list(copy_paste_samples(scene, 2, 12))
    stood = scene.mask_HW == 1
    left = [image[stood & (mask == 0)] for image, mask in samples]
    assert max(float(np.median(pixels[:, 0])) for pixels in left if len(pixels)) < 110


def test_objects_stand_elsewhere(scene: Pair) -> None:
    masks = [mask_HW for _, mask_HW in copy_paste_samples(scene, 0, 8)]
    places = {tuple(np.argwhere(mask_HW > 0).mean(0).round()) for mask_HW in masks}
    assert len(places) == 8


def test_patches_show_the_source_s_colours_under_their_classes(scene: Pair) -> None:
    for image_HWC, mask_HW in patch_samples(scene, 0, 3):
        for index, channel in ((1, 0), (2, 2)):
            pixels = image_HWC[mask_HW == index]
            assert len(pixels) == 0 or (pixels.argmax(1) == channel).mean() > 0.9


def test_there_must_be_something_to_paste(scene: Pair) -> None:
    empty = Pair(
        image_HWC=scene.image_HWC,
        mask_HW=np.zeros_like(scene.mask_HW),
        class_names=scene.class_names,
        is_grey=False,
        encoding="index",
        encoding_declared=True,
    )
    with pytest.raises(ValueError, match="no object"):
        next(copy_paste_samples(empty, 0, 1))
