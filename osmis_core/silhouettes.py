"""Silhouettes: the objects of a mask brought to unit size, whole or cut off by the frame."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from osmis_core.augment.components import I32, connected_components
from osmis_core.augment.views import SMALLEST_OBJECT
from osmis_core.data.pair import U8

F32 = npt.NDArray[np.float32]
I64 = npt.NDArray[np.int64]

CELLS = 16
REACH = 1.6
"""From a silhouette's centre to its grid's edges, in square roots of the object's area."""
SUPERSAMPLED = 3
CUTS = 4
"""Of a whole object."""
CORNER_SHARE = 1 / 3
"""Of them, by a corner of the frame."""


@dataclass(frozen=True, eq=False)
class Silhouette:
    """An object of a mask, brought to unit size.

    Attributes:
        sides: which of the frame's sides it touches, in bits: top 1, left 2, bottom 4, right 8.
        area_px: its pixels.
        cells_C: share of each cell that each foreground class covers, (K − 1) · 16 · 16, around
            the object's centre.
    """

    sides: int
    area_px: int
    cells_C: F32


def silhouettes(
    mask_HW: U8, class_count: int, *, joined: bool = False, frame_px: int | None = None
) -> Iterator[Silhouette]:
    """The objects of a mask, the largest first.

    Objects are connected components of what is not background. Specks are left out.

    Args:
        mask_HW: class indices below ``class_count``.
        class_count: K, background included.
        joined: what is a single pixel apart is one object, as refinement may make it.
        frame_px: pixels of the frame, which tell what a speck is; the mask's if None.
    """
    labels_HW, count = _joined(mask_HW) if joined else connected_components(mask_HW > 0)
    # the pixels of each, found in one pass
    order = np.argsort(labels_HW.ravel(), kind="stable")
    areas = np.bincount(labels_HW.ravel(), minlength=count + 1)
    ends = np.cumsum(areas)
    for label in 1 + np.argsort(-areas[1:], kind="stable"):
        if areas[label] < SMALLEST_OBJECT * (frame_px or mask_HW.size):
            return
        y, x = np.divmod(order[ends[label - 1] : ends[label]], mask_HW.shape[1])
        yield _silhouette(mask_HW, labels_HW, int(label), y, x, class_count)


def cut_silhouettes(mask_HW: U8, class_count: int, seed: int) -> Iterator[Silhouette]:
    """What the frame would leave of a mask's whole objects, were they across its borders.

    Args:
        mask_HW: class indices below ``class_count``.
        class_count: K, background included.
        seed: of the cuts.
    """
    draw = np.random.default_rng(seed)
    labels_HW, count = connected_components(mask_HW > 0)
    for label in range(1, count + 1):
        y, x = np.nonzero(labels_HW == label)
        top, left, bottom, right = y.min(), x.min(), y.max() + 1, x.max() + 1
        touches = 0 in (top, left) or bottom == mask_HW.shape[0] or right == mask_HW.shape[1]
        if touches or len(y) < SMALLEST_OBJECT * mask_HW.size:
            continue
        box = np.s_[top:bottom, left:right]
        object_HW = np.where(labels_HW[box] == label, mask_HW[box], 0).astype(np.uint8)
        for _ in range(CUTS):
            seen_HW = _cut(object_HW, draw)
            yield from silhouettes(seen_HW, class_count, frame_px=mask_HW.size)


def _joined(mask_HW: U8) -> tuple[I32, int]:
    """Labels from 1, and how many: components once gaps of a pixel are closed."""
    shown_HW = mask_HW > 0
    closed_HW = shown_HW.copy()
    closed_HW[1:] |= shown_HW[:-1]
    closed_HW[:, 1:] |= closed_HW[:, :-1].copy()
    labels_HW, count = connected_components(closed_HW)
    return np.where(shown_HW, labels_HW, 0), count


def _cut(object_HW: U8, draw: np.random.Generator) -> U8:
    """An object without some rows, or columns, or both; what is not cut is one pixel away."""
    first, is_corner = int(draw.integers(2)), draw.random() < CORNER_SHARE
    seen = object_HW
    margins = [[1, 1], [1, 1]]
    for axis in (0, 1) if is_corner else (first,):
        size = object_HW.shape[axis]
        left_over = size - int(draw.integers(1, max(size, 2)))
        at_end = int(draw.integers(2))
        kept = slice(left_over) if at_end else slice(size - left_over, size)
        seen = seen[kept] if axis == 0 else seen[:, kept]
        margins[axis][at_end] = 0
    return np.pad(seen, margins)


def _silhouette(
    mask_HW: U8, labels_HW: I32, label: int, y: I64, x: I64, class_count: int
) -> Silhouette:
    """That of the component with this label, whose pixels are in rows y and columns x."""
    height, width = mask_HW.shape
    touches = (y.min() == 0, x.min() == 0, y.max() == height - 1, x.max() == width - 1)
    points = CELLS * SUPERSAMPLED
    offsets = (2 * np.arange(points) + 1 - points) / points * REACH * np.sqrt(len(y))
    rows, columns = (np.round(axis.mean() + offsets).astype(np.int64) for axis in (y, x))
    window = np.ix_(rows.clip(0, height - 1), columns.clip(0, width - 1))
    is_inside = np.logical_and.outer(_within(rows, height), _within(columns, width))
    seen_PP = np.where((labels_HW[window] == label) & is_inside, mask_HW[window], 0)
    planes = seen_PP == np.arange(1, class_count)[:, None, None]
    blocks = planes.reshape(-1, CELLS, SUPERSAMPLED, CELLS, SUPERSAMPLED)
    return Silhouette(
        sides=sum(1 << bit for bit, touched in enumerate(touches) if touched),
        area_px=len(y),
        cells_C=blocks.mean((2, 4), dtype=np.float32).ravel(),
    )


def _within(places: I64, size: int) -> npt.NDArray[np.bool_]:
    return (places >= 0) & (places < size)
