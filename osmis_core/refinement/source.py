"""The source pair as the refinement needs it: at every size of the pyramid."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from osmis_core.data.pair import IGNORE
from osmis_core.refinement import cleaning
from osmis_core.refinement.features import F32, PATCH, class_corners, pack, resize
from osmis_core.refinement.options import RefinementOptions

F64 = npt.NDArray[np.float64]
U8 = npt.NDArray[np.uint8]

_MERGE_STEP = 1.2
"""A level within this ratio of the output is left out: the output size takes its place."""

_MOST_COARSE_SPECK_SHARE = 0.002
"""No component above this share of a coarse sample is a speck."""

_MOST_FINE_SPECK_COARSE_PX = 2.0
"""After refinement, nor is one above the area of this many coarse pixels: it was asked for."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Level:
    """One size of the pyramid, with what samples are matched against there.

    Attributes:
        hw: height and width in pixels.
        sharp: features of the source at this size.
        blurred: features of the source enlarged from the level before.
    """

    hw: tuple[int, int]
    sharp: F32
    blurred: F32


@dataclass(frozen=True, kw_only=True, eq=False)
class SourcePyramid:
    """The source at all sizes; read-only once built.

    Attributes:
        corners_KD: the classes' vectors.
        levels: from coarse to output size.
        image_HWC: uint8, at the output size.
        labels_HW: classes at the output size, 255 where unlabelled.
        filled_HW: the same with unlabelled pixels given the nearest label.
        coarse_speck_px_K: area below which a component of a coarse sample is a speck.
        fine_speck_px_K: the same at the output size.
    """

    corners_KD: F32
    levels: tuple[Level, ...]
    image_HWC: U8
    labels_HW: U8
    filled_HW: U8
    coarse_speck_px_K: F64
    fine_speck_px_K: F64


def level_sizes(
    coarse_hw: tuple[int, int], output_hw: tuple[int, int], scale_step: float
) -> list[tuple[int, int]]:
    """Sizes from coarse to output, each ``scale_step`` times the one before.

    Args:
        coarse_hw: where samples come in.
        output_hw: where they leave; may equal ``coarse_hw`` or be smaller.
        scale_step: > 1.

    Returns:
        At least one size; the last is ``output_hw``.
    """
    if coarse_hw == output_hw:
        return [output_hw]
    growth_h, growth_w = output_hw[0] / coarse_hw[0], output_hw[1] / coarse_hw[1]
    growth = max(growth_h, growth_w)
    sizes = [coarse_hw]
    ratio = scale_step
    while ratio * _MERGE_STEP <= growth:
        share = math.log(ratio) / math.log(growth)
        sizes.append((round(coarse_hw[0] * growth_h**share), round(coarse_hw[1] * growth_w**share)))
        ratio *= scale_step
    return [*sizes, output_hw]


def build_pyramid(
    image_HWC: U8,
    mask_HW: U8,
    class_count: int,
    sizes: list[tuple[int, int]],
    options: RefinementOptions,
) -> SourcePyramid:
    """Resizes the source to every size.

    Args:
        image_HWC: the source's image, uint8, shape (H, W, 3).
        mask_HW: its classes in [0, K), 255 where unlabelled; shape (H, W).
        class_count: K.
        sizes: from :func:`level_sizes`.
        options: see :class:`RefinementOptions`.

    Returns:
        The pyramid.
    """
    corners_KD = class_corners(class_count, options.mask_weight)
    unit_image_HWC = image_HWC.astype(np.float32) / np.float32(127.5) - np.float32(1)
    shares_HWK = (mask_HW[..., None] == np.arange(class_count)).astype(np.float32)
    levels: list[Level] = []
    smaller: tuple[F32, F32] | None = None
    for hw in sizes:
        image, shares = resize(unit_image_HWC, *hw), resize(shares_HWK, *hw)
        sharp = blurred = pack(image, shares, corners_KD)
        if smaller is not None:
            blurred = pack(resize(smaller[0], *hw), resize(smaller[1], *hw), corners_KD)
        levels.append(Level(hw=hw, sharp=sharp, blurred=blurred))
        smaller = (image, shares)
    labels_HW, filled_HW = _labels(resize(shares_HWK, *sizes[-1]))
    coarse_filled_HW = _labels(resize(shares_HWK, *sizes[0]))[1]
    coarse_px_area = filled_HW.size / coarse_filled_HW.size
    return SourcePyramid(
        corners_KD=corners_KD,
        levels=tuple(levels),
        image_HWC=np.rint(resize(image_HWC.astype(np.float32), *sizes[-1])).astype(np.uint8),
        labels_HW=labels_HW,
        filled_HW=filled_HW,
        coarse_speck_px_K=cleaning.speck_limits(
            coarse_filled_HW,
            class_count,
            options.clean_fraction,
            _MOST_COARSE_SPECK_SHARE * coarse_filled_HW.size,
        ),
        fine_speck_px_K=cleaning.speck_limits(
            filled_HW,
            class_count,
            options.clean_fraction,
            _MOST_FINE_SPECK_COARSE_PX * coarse_px_area,
        ),
    )


def check_source(image_HWC: U8, mask_HW: U8, class_count: int) -> None:
    """Refuses sources that can't be refined from.

    Raises:
        ValueError: shapes disagree, a size is below 5 pixels, a label is not below K or nothing
            is labelled.
    """
    if image_HWC.ndim != 3 or image_HWC.shape[2] != 3 or image_HWC.shape[:2] != mask_HW.shape:
        raise ValueError(f"image {image_HWC.shape} and mask {mask_HW.shape} don't match")
    if min(mask_HW.shape) < PATCH:
        raise ValueError(f"the source must have at least {PATCH} pixels a side: {mask_HW.shape}")
    if not 1 <= class_count < IGNORE:
        raise ValueError(f"class_count must lie in [1, {IGNORE}), not {class_count}")
    labelled = mask_HW[mask_HW != IGNORE]
    if labelled.size == 0 or labelled.max() >= class_count:
        raise ValueError(f"labels must lie in [0, {class_count}), and some must be there")


def _labels(shares_HWK: F32) -> tuple[U8, U8]:
    """Classes with 255 where mostly unlabelled, and classes with those filled."""
    labels_HW = shares_HWK.argmax(axis=-1).astype(np.uint8)
    unlabelled_HW = shares_HWK.sum(axis=-1) < 0.5
    filled_HW = cleaning.fill_from_nearest(labels_HW, unlabelled_HW)
    labels_HW[unlabelled_HW] = IGNORE
    return labels_HW, filled_HW
