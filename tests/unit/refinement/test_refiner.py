from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import pytest
import torch

from osmis_core.refinement import Refined, RefinementOptions, Refiner
from osmis_core.refinement.features import resize
from osmis_core.refinement.source import level_sizes


def coarse_of(image, mask, class_count, hw):
    shares = (mask[..., None] == np.arange(class_count)).astype(np.float32)
    return resize(image.astype(np.float32) / 127.5 - 1, *hw), resize(shares, *hw)


def same(a: Refined, b: Refined) -> bool:
    return (
        a.image_HWC.tobytes() == b.image_HWC.tobytes()
        and a.mask_HW.tobytes() == b.mask_HW.tobytes()
        and a.verbatim_share == b.verbatim_share
    )


def test_the_source_itself_comes_back(coins):
    image, mask = coins
    refiner = Refiner(image, mask, 2, (64, 80), mask.shape)
    refined = refiner.refine(*coarse_of(image, mask, 2, (64, 80)), seed=0)
    assert refined.image_HWC.shape == image.shape
    assert refined.image_HWC.dtype == refined.mask_HW.dtype == np.uint8
    assert np.abs(refined.image_HWC.astype(int) - image).mean() < 1.0
    assert (refined.mask_HW == mask).mean() > 0.999
    assert refined.verbatim_share > 0.95


def test_a_grey_source_gives_grey(coins):
    image, mask = coins
    coarse, shares = coarse_of(image, mask, 2, (64, 80))
    refiner = Refiner(image, mask, 2, (64, 80), mask.shape)
    refined = refiner.refine(coarse[:, ::-1], shares[:, ::-1], seed=1).image_HWC
    assert (refined == refined[..., :1]).all()


def test_a_moved_object_is_rebuilt_with_its_label(scene):
    image, mask = scene
    moved, moved_mask = image.copy(), mask.copy()
    moved[8:43, 13:48] = image[30:65, 2:37]
    moved_mask[8:43, 13:48] = mask[30:65, 2:37]
    moved[8:43, 60:95] = image[8:43, 13:48]
    moved_mask[8:43, 60:95] = mask[8:43, 13:48]
    refiner = Refiner(image, mask, 3, (32, 43), mask.shape)
    refined = refiner.refine(*coarse_of(moved, moved_mask, 3, (32, 43)), seed=0)
    disc = moved_mask == 1
    overlap = (disc & (refined.mask_HW == 1)).sum() / (disc | (refined.mask_HW == 1)).sum()
    assert overlap > 0.9
    red = refined.image_HWC[refined.mask_HW == 1].mean(axis=0)
    assert red[0] > 180
    assert red[1] < 80


def test_what_the_border_cuts_grows_no_neck(coins):
    """The lower border cuts a row of coins in their lower halves, as none is cut in the source."""
    image, mask = coins
    height, _ = mask.shape
    cut = 260
    moved, moved_mask = (np.concatenate([a[: height - cut][::-1], a[:cut]]) for a in (image, mask))
    refiner = Refiner(image, mask, 2, (64, 80), mask.shape)
    refined = refiner.refine(*coarse_of(moved, moved_mask, 2, (64, 80)), seed=0)
    differs = refined.mask_HW[-8:] != moved_mask[-8:]
    assert moved_mask[-8:].mean() > 0.5
    assert differs.mean() < 0.03


def test_bytes_depend_on_the_seed_alone(scene):
    image, mask = scene
    coarse = coarse_of(image[:, ::-1], mask[:, ::-1], 3, (24, 32))
    results = [
        Refiner(image, mask, 3, (24, 32), mask.shape, RefinementOptions(threads=threads)).refine(
            *coarse, seed=seed
        )
        for threads, seed in ((1, 4), (2, 4), (5, 4), (2, 5))
    ]
    assert same(results[0], results[1])
    assert same(results[0], results[2])
    assert not same(results[0], results[3])


def test_the_threads_of_torch_are_left_as_they_are(scene):
    before = torch.get_num_threads()
    image, mask = scene
    refiner = Refiner(image, mask, 3, (24, 32), mask.shape)
    refiner.refine(*coarse_of(image, mask, 3, (24, 32)), seed=0)
    assert torch.get_num_threads() == before == 1


def test_one_refiner_serves_several_threads(scene):
    image, mask = scene
    coarse = coarse_of(image, mask, 3, (24, 32))
    refiner = Refiner(image, mask, 3, (24, 32), mask.shape, RefinementOptions(threads=1))
    alone = [refiner.refine(*coarse, seed=seed) for seed in range(4)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda seed: refiner.refine(*coarse, seed=seed), range(4)))
    assert all(same(a, b) for a, b in zip(alone, together, strict=True))


@pytest.mark.parametrize("output_hw", [(75, 101), (33, 47), (24, 32), (17, 19), (130, 61)])
def test_any_output_size(scene, output_hw):
    image, mask = scene
    refiner = Refiner(image, mask, 3, (24, 32), output_hw)
    refined = refiner.refine(*coarse_of(image, mask, 3, (24, 32)), seed=0)
    assert refined.image_HWC.shape == (*output_hw, 3)
    assert refined.mask_HW.shape == output_hw
    assert set(np.unique(refined.mask_HW)) <= {0, 1, 2}
    assert 0 <= refined.verbatim_share <= 1
    wanted = resize(image.astype(np.float32), *output_hw)
    assert np.abs(refined.image_HWC - wanted).mean() < 12


def test_output_at_the_training_size_is_one_exact_search(scene):
    image, mask = scene
    assert level_sizes((24, 32), (24, 32), 1.5) == [(24, 32)]
    refiner = Refiner(image, mask, 3, (24, 32), (24, 32))
    coarse = coarse_of(image, mask, 3, (24, 32))
    refined = refiner.refine(*coarse, seed=0)
    assert refined.verbatim_share == 1.0
    assert (refined.mask_HW == coarse[1].argmax(-1)).all()
    assert same(refined, refiner.refine(*coarse, seed=99))


@pytest.mark.parametrize("class_count", [1, 7, 32])
def test_many_classes(rng, class_count):
    image = rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)
    tiles = (np.arange(48)[:, None] // 8) * 8 + np.arange(64)[None] // 8
    mask = (tiles % class_count).astype(np.uint8)
    refiner = Refiner(image, mask, class_count, (24, 32), (48, 64))
    refined = refiner.refine(*coarse_of(image, mask, class_count, (24, 32)), seed=0)
    assert (refined.mask_HW == mask).mean() > 0.98


def test_unlabelled_pixels_are_never_delivered(scene):
    image, mask = scene
    partly = mask.copy()
    partly[:, 40:52] = 255
    partly[20:30] = 255
    refiner = Refiner(image, partly, 3, (24, 32), mask.shape)
    refined = refiner.refine(*coarse_of(image, mask, 3, (24, 32)), seed=0)
    assert refined.mask_HW.max() <= 2
    assert (refined.mask_HW == mask).mean() > 0.9


def test_holes_and_specks_of_the_coarse_mask_are_closed(scene):
    image, mask = scene
    coarse, shares = coarse_of(image, mask, 3, (64, 86))
    shares[21, 25] = (1, 0, 0)
    shares[5, 70] = (0, 0, 1)
    refiner = Refiner(image, mask, 3, (64, 86), mask.shape)
    refined = refiner.refine(coarse, shares, seed=0)
    assert (refined.mask_HW == mask).mean() > 0.995


def test_levels_grow_by_about_the_step():
    sizes = level_sizes((64, 96), (400, 600), 1.5)
    assert sizes[0] == (64, 96)
    assert sizes[-1] == (400, 600)
    ratios = [larger[0] / smaller[0] for smaller, larger in pairwise(sizes)]
    assert all(1.15 < ratio < 1.85 for ratio in ratios)


@pytest.mark.parametrize(
    ("image_hw", "mask_value", "class_count", "coarse_hw"),
    [
        ((20, 21), 0, 2, (10, 10)),
        ((20, 20), 2, 2, (10, 10)),
        ((20, 20), 255, 2, (10, 10)),
        ((20, 20), 0, 0, (10, 10)),
        ((20, 20), 0, 255, (10, 10)),
        ((20, 20), 0, 2, (4, 10)),
    ],
)
def test_impossible_sources_are_refused(image_hw, mask_value, class_count, coarse_hw):
    image = np.zeros((*image_hw, 3), dtype=np.uint8)
    mask = np.full((20, 20), mask_value, dtype=np.uint8)
    with pytest.raises(ValueError, match=r"match|labels|class_count|pixels"):
        Refiner(image, mask, class_count, coarse_hw, (20, 20))


def test_wrong_samples_are_refused(scene):
    image, mask = scene
    refiner = Refiner(image, mask, 3, (24, 32), mask.shape)
    coarse, shares = coarse_of(image, mask, 3, (24, 32))
    with pytest.raises(ValueError, match="image of shape"):
        refiner.refine(coarse[1:], shares, seed=0)
    with pytest.raises(ValueError, match="mask of shape"):
        refiner.refine(coarse, shares[..., :2], seed=0)
    coarse[3, 4, 1] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        refiner.refine(coarse, shares, seed=0)


@pytest.mark.parametrize(
    "wrong",
    [
        {"mask_weight": 0.0},
        {"completeness": float("nan")},
        {"coarse_iterations": 0},
        {"scale_step": 1.0},
        {"coherence": 1.0},
        {"clean_fraction": 2.0},
        {"threads": 0},
    ],
)
def test_options_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match=r"must|needed"):
        RefinementOptions(**wrong)
