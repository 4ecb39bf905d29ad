"""Refinement in batches on a GPU; skipped, showing nothing, without a CUDA device."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bench.refinement import coarse_samples, load_pair, refiner_of
from osmis_core.refinement import BatchedRefiner, Refined, RefinementOptions
from osmis_core.refinement.refiner import CoarseSample

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here"),
]

CUDA, CPU = torch.device("cuda"), torch.device("cpu")
OPTIONS = RefinementOptions()
MEMORY_BYTES = 2 * 2**30


def samples_of(name: str, count: int) -> list[CoarseSample]:
    return [(*pair, seed) for seed, pair in enumerate(coarse_samples(name, count))]


def same(a: Refined, b: Refined) -> bool:
    images = np.array_equal(a.image_HWC, b.image_HWC)
    return images and np.array_equal(a.mask_HW, b.mask_HW) and a.verbatim_share == b.verbatim_share


def difference(a: Refined, b: Refined) -> float:
    """Mean difference of the images, in grey levels."""
    return float(np.abs(a.image_HWC.astype(int) - b.image_HWC).mean())


@pytest.mark.parametrize("name", ["coins", "coffee"])
def test_batches_agree_with_the_loops(name: str) -> None:
    samples = samples_of(name, 4)
    loops = refiner_of(name, CPU, OPTIONS)
    refined = refiner_of(name, CUDA, OPTIONS).refine_each(samples)
    for batched, (image_HWC, mask_HWK, seed) in zip(refined, samples, strict=True):
        theirs, other = (loops.refine(image_HWC, mask_HWK, seed=s) for s in (seed, seed + 50))
        assert (batched.mask_HW == theirs.mask_HW).mean() >= 0.985
        assert difference(batched, theirs) <= 1.25 * difference(theirs, other) + 0.1
        assert batched.verbatim_share == pytest.approx(theirs.verbatim_share, abs=0.03)


def test_a_sample_does_not_depend_on_its_batch() -> None:
    samples = samples_of("coins", 5)
    refiner = refiner_of("coins", CUDA, OPTIONS)
    alone = [refiner.refine(image, shares, seed=seed) for image, shares, seed in samples]
    assert all(same(a, b) for a, b in zip(refiner.refine_each(samples), alone, strict=True))


def test_memory_does_not_grow_with_the_number_of_samples() -> None:
    refiner = refiner_of("coffee", CUDA, OPTIONS)
    assert isinstance(refiner, BatchedRefiner)
    samples = samples_of("coffee", 1) * (2 * refiner.samples_at_once + 1)
    torch.cuda.reset_peak_memory_stats()
    refined = list(refiner.refine_each(samples))
    assert torch.cuda.max_memory_allocated() < MEMORY_BYTES
    assert refined[0].mask_HW.shape == load_pair("coffee")[1].shape
