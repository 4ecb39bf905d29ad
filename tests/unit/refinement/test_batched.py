"""The refiner for GPUs, run on the CPU: the same contract and the same results as the loops'."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from osmis_core.refinement import BatchedRefiner, Refined, Refiner, refiner_on
from osmis_core.refinement.features import resize

CPU = torch.device("cpu")


def coarse_of(image, mask, class_count, hw):
    shares = (mask[..., None] == np.arange(class_count)).astype(np.float32)
    return resize(image.astype(np.float32) / 127.5 - 1, *hw), resize(shares, *hw)


def coarse_samples(scene, count, hw=(24, 32)):
    """The scene rolled and every other time mirrored, each with a seed of its own."""
    image, mask = scene
    samples = []
    for i in range(count):
        step = 1 - 2 * (i % 2)
        moved = [np.roll(array, 11 * i, axis=1)[:, ::step] for array in (image, mask)]
        samples.append((*coarse_of(*moved, 3, hw), 100 + i))
    return samples


def same(a: Refined, b: Refined) -> bool:
    return (
        a.image_HWC.tobytes() == b.image_HWC.tobytes()
        and a.mask_HW.tobytes() == b.mask_HW.tobytes()
        and a.verbatim_share == b.verbatim_share
    )


class LargestTensor(TorchDispatchMode):
    """Keeps the size of the largest tensor made in its context, in bytes of its own memory."""

    size_bytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        made = func(*args, **(kwargs or {}))
        tensors = [leaf for leaf in tree_leaves(made) if isinstance(leaf, torch.Tensor)]
        sizes = [tensor.untyped_storage().nbytes() for tensor in tensors]
        self.size_bytes = max([self.size_bytes, *sizes])
        return made


def difference(a: Refined, b: Refined) -> float:
    """Mean difference of the images, in grey levels."""
    return float(np.abs(a.image_HWC.astype(int) - b.image_HWC).mean())


def assert_agrees(ours: Refined, theirs: Refined, other_seed: Refined) -> None:
    """Within what a seed changes in the loops' results."""
    assert ours.image_HWC.dtype == ours.mask_HW.dtype == np.uint8
    assert (ours.mask_HW == theirs.mask_HW).mean() >= 0.985
    assert difference(ours, theirs) <= 1.25 * difference(theirs, other_seed) + 0.1
    assert ours.verbatim_share == pytest.approx(theirs.verbatim_share, abs=0.03)


def test_samples_agree_with_the_loops(scene):
    source = (*scene, 3, (24, 32), scene[1].shape)
    samples = coarse_samples(scene, 6)
    loops = Refiner(*source)
    for batched, sample in zip(
        BatchedRefiner(*source, device=CPU).refine_each(samples), samples, strict=True
    ):
        image_HWC, mask_HWK, seed = sample
        theirs = [loops.refine(image_HWC, mask_HWK, seed=s) for s in (seed, seed + 50)]
        assert_agrees(batched, *theirs)


def test_a_photograph_agrees_with_the_loops(coins):
    image, mask = coins
    source = (image, mask, 2, (64, 80), mask.shape)
    sample = coarse_of(np.roll(image, 90, axis=1), np.roll(mask, 90, axis=1), 2, (64, 80))
    batched = BatchedRefiner(*source, device=CPU).refine(*sample, seed=3)
    assert_agrees(batched, *(Refiner(*source).refine(*sample, seed=seed) for seed in (3, 4)))
    assert (batched.image_HWC == batched.image_HWC[..., :1]).all()


def test_the_source_itself_comes_back(scene):
    image, mask = scene
    refiner = BatchedRefiner(image, mask, 3, (64, 86), mask.shape, device=CPU)
    refined = refiner.refine(*coarse_of(image, mask, 3, (64, 86)), seed=0)
    assert np.abs(refined.image_HWC.astype(int) - image).mean() < 2
    assert (refined.mask_HW == mask).mean() > 0.995


def test_a_sample_depends_on_its_seed_and_not_on_its_batch(scene):
    source = (*scene, 3, (24, 32), scene[1].shape)
    samples = coarse_samples(scene, 5)
    refiner = BatchedRefiner(*source, device=CPU)
    assert refiner.samples_at_once >= 5
    together = list(refiner.refine_each(samples))
    alone = [refiner.refine(image, shares, seed=seed) for image, shares, seed in samples]
    backwards = list(refiner.refine_each(samples[::-1]))[::-1]
    for others in (alone, backwards):
        assert all(same(a, b) for a, b in zip(together, others, strict=True))
    assert not same(together[1], refiner.refine(*samples[1][:2], seed=4))


def test_pieces_change_nothing_and_bound_the_memory(scene):
    source = (*scene, 3, (24, 32), scene[1].shape)
    samples = coarse_samples(scene, 7)
    whole = list(BatchedRefiner(*source, device=CPU).refine_each(samples))
    refiner = BatchedRefiner(*source, device=CPU, values_at_once=80_000)
    assert refiner.samples_at_once == 2
    with LargestTensor() as seen:
        pieces = list(refiner.refine_each(samples))
    assert all(same(a, b) for a, b in zip(whole, pieces, strict=True))
    # reflected pixels come on top, and a coarse sample's patches (24 · 32 · 25 · 5) are never cut
    assert seen.size_bytes < 1.25 * 4 * 80_000


def test_samples_are_drawn_as_they_are_needed(scene):
    refiner = BatchedRefiner(*scene, 3, (24, 32), scene[1].shape, device=CPU, values_at_once=80_000)
    waiting = iter(coarse_samples(scene, 7))
    refined = refiner.refine_each(waiting)
    next(refined)
    assert len(list(waiting)) == 5


@pytest.mark.parametrize("output_hw", [(75, 101), (33, 47), (24, 32), (17, 19), (130, 61)])
def test_any_output_size(scene, output_hw):
    refiner = BatchedRefiner(*scene, 3, (24, 32), output_hw, device=CPU)
    refined = refiner.refine(*coarse_of(*scene, 3, (24, 32)), seed=0)
    assert refined.image_HWC.shape == (*output_hw, 3)
    assert refined.mask_HW.shape == output_hw
    assert set(np.unique(refined.mask_HW)) <= {0, 1, 2}
    wanted = resize(scene[0].astype(np.float32), *output_hw)
    assert np.abs(refined.image_HWC - wanted).mean() < 12


@pytest.mark.parametrize("class_count", [1, 7, 32, 48])
def test_many_classes(rng, class_count):
    image = rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)
    tiles = (np.arange(48)[:, None] // 8) * 8 + np.arange(64)[None] // 8
    mask = (tiles % class_count).astype(np.uint8)
    refiner = BatchedRefiner(image, mask, class_count, (24, 32), (48, 64), device=CPU)
    refined = refiner.refine(*coarse_of(image, mask, class_count, (24, 32)), seed=0)
    assert (refined.mask_HW == mask).mean() > 0.98


def test_unlabelled_pixels_are_never_delivered(scene):
    image, mask = scene
    partly = mask.copy()
    partly[:, 40:52] = 255
    partly[20:30] = 255
    refiner = BatchedRefiner(image, partly, 3, (24, 32), mask.shape, device=CPU)
    refined = refiner.refine(*coarse_of(image, mask, 3, (24, 32)), seed=0)
    assert refined.mask_HW.max() <= 2
    assert (refined.mask_HW == mask).mean() > 0.9


def test_holes_and_specks_of_the_coarse_mask_are_closed(scene):
    image, mask = scene
    coarse, shares = coarse_of(image, mask, 3, (64, 86))
    shares[21, 25] = (1, 0, 0)
    shares[5, 70] = (0, 0, 1)
    refiner = BatchedRefiner(image, mask, 3, (64, 86), mask.shape, device=CPU)
    assert (refiner.refine(coarse, shares, seed=0).mask_HW == mask).mean() > 0.995


def test_wrong_samples_are_refused(scene):
    refiner = BatchedRefiner(*scene, 3, (24, 32), scene[1].shape, device=CPU)
    coarse, shares = coarse_of(*scene, 3, (24, 32))
    with pytest.raises(ValueError, match="image of shape"):
        refiner.refine(coarse[1:], shares, seed=0)
    coarse[3, 4, 1] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        list(refiner.refine_each([(coarse, shares, 0)]))


def test_the_device_decides(scene):
    source = (*scene, 3, (24, 32), (24, 32))
    assert type(refiner_on(CPU, *source)) is Refiner
    assert type(refiner_on(torch.device("meta"), *source)) is BatchedRefiner
