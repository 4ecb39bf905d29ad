"""A rival: patches of the source put together anew, image and mask at once, without any network.

The refinement on its own, from noise: at a short side of 16 pixels, where a patch of 5 covers a
third of the picture, noise in the source's colours and classes is replaced again and again by the
source's nearest patches, in the manner of GPNN (Granot et al., CVPR 2022); then up the pyramid as
any coarse sample. From a larger start, or without many rounds there, objects melt into each other;
from the source with noise added, every sample is the source again.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from bench.quality.setup import U8
from osmis_core.data.pair import Pair
from osmis_core.refinement import RefinementOptions, Refiner
from osmis_core.refinement.features import F32, resize

COARSE_SHORT_PX = 16
OPTIONS = RefinementOptions(coarse_iterations=10, completeness=0.05, threads=1)


def patch_samples(
    pair: Pair, seed: int, count: int, *, coarse_short_px: int = COARSE_SHORT_PX
) -> Iterator[tuple[U8, U8]]:
    """Pairs made of the source's patches; sample i is a function of (seed, i) alone.

    Args:
        pair: the source.
        seed: of the noise.
        count: how many.
        coarse_short_px: short side of the noise.

    Yields:
        uint8 image (H, W, 3) and classes (H, W), at the source's size.
    """
    native = (pair.height, pair.width)
    ratio = coarse_short_px / min(native)
    coarse = (round(pair.height * ratio), round(pair.width * ratio))
    refiner = Refiner(pair.image_HWC, pair.mask_HW, pair.class_count, coarse, native, OPTIONS)
    small_HWC = resize(pair.image_HWC.astype(np.float32) / 127.5 - 1, *coarse)
    for i in range(count):
        rng = np.random.default_rng((seed, i))
        image_HWC, mask_HWK = _noise(small_HWC, pair.area_fractions(), rng)
        refined = refiner.refine(image_HWC, mask_HWK, seed=i)
        yield refined.image_HWC, refined.mask_HW


def _noise(
    small_HWC: F32, shares_K: tuple[float, ...], rng: np.random.Generator
) -> tuple[F32, F32]:
    """Independent pixels: colours of the source's mean and spread, classes of its areas."""
    mean_C, std_C = small_HWC.mean((0, 1)), small_HWC.std((0, 1))
    image_HWC = rng.normal(mean_C, std_C, small_HWC.shape).astype(np.float32)
    drawn_HW = rng.choice(len(shares_K), small_HWC.shape[:2], p=shares_K)
    return image_HWC, np.eye(len(shares_K), dtype=np.float32)[drawn_HW]
