"""Measures on masks alone: how varied the layouts are, and which classes went wrong."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from osmis_core.data.pair import IGNORE

U8 = npt.NDArray[np.uint8]
F64 = npt.NDArray[np.float64]

VANISHED_BELOW = 0.25
SWALLOWED_ABOVE = 3.0
LARGE_CLASS = 0.30
LARGE_SWALLOWED_ABOVE = 1.5
AREA_BINS = 10


def shrink_mask(mask_HW: U8, longest_px: int) -> U8:
    """Reduces a mask by area: every pixel takes the class that covers most of it.

    Ignored pixels count as background, class 0. Masks that are small enough stay as they are.
    """
    labelled_HW = np.where(mask_HW == IGNORE, 0, mask_HW).astype(np.uint8)
    height, width = labelled_HW.shape
    longest = max(height, width)
    if longest <= longest_px:
        return labelled_HW
    rows = max(1, round(height * longest_px / longest))
    cols = max(1, round(width * longest_px / longest))
    row_HR = _area_weights(height, rows)
    col_WC = _area_weights(width, cols)
    shares = [
        row_HR.T @ (labelled_HW == k).astype(np.float32) @ col_WC
        for k in range(int(labelled_HW.max()) + 1)
    ]
    small_HW: U8 = np.argmax(np.stack(shares), axis=0).astype(np.uint8)
    return small_HW


def _area_weights(size: int, cells: int) -> npt.NDArray[np.float32]:
    """Overlap of every pixel with every cell, (size, cells), in pixels."""
    pixel = np.arange(size, dtype=np.float64)[:, None]
    edge = np.linspace(0, size, cells + 1)
    overlap = np.minimum(pixel + 1, edge[None, 1:]) - np.maximum(pixel, edge[None, :-1])
    return overlap.clip(min=0).astype(np.float32)


def foreground_iou(first_HW: U8, second_HW: U8) -> float:
    """Pixels that agree in class and are not background, over the union of non-background.

    Two masks without any foreground agree: 1.
    """
    agree = int(((first_HW == second_HW) & (first_HW > 0)).sum())
    union = int(((first_HW > 0) | (second_HW > 0)).sum())
    return agree / union if union else 1.0


def layout_diversity(masks: Sequence[U8], *, longest_px: int = 96) -> float:
    """Mean foreground IoU over all pairs of masks: low means varied layouts, 1 means one layout.

    Args:
        masks: class indices, all of one shape; at least two.
        longest_px: masks are compared at this longest side.

    Raises:
        ValueError: fewer than two masks.
    """
    if len(masks) < 2:
        raise ValueError(f"Layout diversity needs at least two masks, not {len(masks)}.")
    small_NP = np.stack([shrink_mask(mask, longest_px).ravel() for mask in masks])
    agree_NN = np.zeros((len(masks), len(masks)), dtype=np.float64)
    for k in range(1, int(small_NP.max()) + 1):
        of_class_NP = (small_NP == k).astype(np.float32)
        agree_NN += of_class_NP @ of_class_NP.T
    object_NP = (small_NP > 0).astype(np.float32)
    area_N = object_NP.sum(1)
    union_NN = area_N[:, None] + area_N[None, :] - object_NP @ object_NP.T
    iou_NN = np.where(union_NN > 0, agree_NN / np.maximum(union_NN, 1), 1.0)
    upper = np.triu_indices(len(masks), k=1)
    return float(iou_NN[upper].mean())


@dataclass(frozen=True, kw_only=True)
class ClassFaults:
    """Classes of one sample whose area left the plausible range.

    Attributes:
        vanished: area below a quarter of the source's.
        swallowed: area above 3 × the source's (1.5 × for a class that covers over 30 % there).
    """

    vanished: tuple[int, ...]
    swallowed: tuple[int, ...]

    def __bool__(self) -> bool:
        return bool(self.vanished or self.swallowed)


def area_shares(mask_HW: U8, class_count: int) -> F64:
    """Share of the labelled pixels that each class covers, (K,)."""
    counts = np.bincount(mask_HW.ravel(), minlength=256)[:class_count].astype(np.float64)
    shares_K: F64 = counts / max(1.0, counts.sum())
    return shares_K


def class_faults(mask_HW: U8, source_HW: U8, class_count: int) -> ClassFaults:
    """Compares a sample's class areas with the source's; classes absent there are not judged.

    Args:
        mask_HW: the sample's class indices, any size.
        source_HW: the source's, 255 = ignored.
        class_count: K, background included.
    """
    sample_K, source_K = area_shares(mask_HW, class_count), area_shares(source_HW, class_count)
    limit_K = np.where(source_K > LARGE_CLASS, LARGE_SWALLOWED_ABOVE, SWALLOWED_ABOVE)
    present_K = source_K > 0
    vanished = np.flatnonzero(present_K & (sample_K < VANISHED_BELOW * source_K))
    swallowed = np.flatnonzero(present_K & (sample_K > limit_K * source_K))
    return ClassFaults(
        vanished=tuple(int(k) for k in vanished), swallowed=tuple(int(k) for k in swallowed)
    )


@dataclass(frozen=True, kw_only=True)
class ClassArea:
    """How much of the labelled pixels one class covers, over a set and in its source.

    Attributes:
        index: of the class.
        source: share in the source, in [0, 1].
        mean: mean share over the samples.
        min: smallest share of a sample.
        max: largest share of a sample.
        histogram: samples by share in ten equal bins: [0, 0.1), …, [0.9, 1].
    """

    index: int
    source: float
    mean: float
    min: float
    max: float
    histogram: tuple[int, ...]


def class_areas(masks: Iterable[U8], source_HW: U8, class_count: int) -> tuple[ClassArea, ...]:
    """Class-area histogram of a set: one entry a class, background included.

    Args:
        masks: class indices, 255 = ignored, any sizes; at least one.
        source_HW: the source's class indices.
        class_count: K.

    Raises:
        ValueError: no masks.
    """
    rows = [area_shares(mask, class_count) for mask in masks]
    if not rows:
        raise ValueError("Class areas need at least one mask.")
    shares_NK, source_K = np.stack(rows), area_shares(source_HW, class_count)
    return tuple(
        ClassArea(
            index=k,
            source=float(source_K[k]),
            mean=float(shares_NK[:, k].mean()),
            min=float(shares_NK[:, k].min()),
            max=float(shares_NK[:, k].max()),
            histogram=tuple(
                np.histogram(shares_NK[:, k], bins=AREA_BINS, range=(0.0, 1.0))[0].tolist()
            ),
        )
        for k in range(class_count)
    )
