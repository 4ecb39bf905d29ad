"""Specks and unlabelled pixels in class maps."""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]
U8 = npt.NDArray[np.uint8]

_STEPS = np.array(
    [[1, 0], [-1, 0], [0, 1], [0, -1], [1, 1], [1, -1], [-1, 1], [-1, -1]], dtype=np.int64
)
"""To the direct neighbours first, then to the diagonal ones."""


def components(labels_HW: U8) -> tuple[I32, I64]:
    """Connected components of equal labels.

    Objects hold together across corners, so that thin ones stay in one piece; the background
    (class 0) does not.

    Args:
        labels_HW: shape (H, W).

    Returns:
        Component index of each pixel, shape (H, W), in reading order of first pixels, and the
        components' areas in pixels.
    """
    index_HW = np.full(labels_HW.shape, -1, dtype=np.int32)
    count = int(_flood(labels_HW, index_HW))
    return index_HW, np.bincount(index_HW.ravel(), minlength=count)


def speck_limits(
    labels_HW: U8, class_count: int, clean_fraction: float, most_px: float
) -> npt.NDArray[np.float64]:
    """Per class the area below which a component counts as a speck.

    Args:
        labels_HW: the source's classes at the size where samples are cleaned, shape (H, W).
        class_count: K.
        clean_fraction: share of the source's smallest component of a class.
        most_px: no component of this area or more is ever a speck.

    Returns:
        Areas in pixels, shape (K,); 0 for classes the source lacks: nothing of them is cleaned.
    """
    index_HW, areas = components(labels_HW)
    labels = component_labels(labels_HW, index_HW, len(areas))
    limits = np.zeros(class_count)
    for k in range(class_count):
        own = areas[labels == k]
        if own.size:
            limits[k] = min(clean_fraction * own.min(), most_px)
    return limits


def component_labels(labels_HW: U8, index_HW: I32, count: int) -> U8:
    """The label of each component, shape (count,)."""
    labels = np.empty(count, dtype=np.uint8)
    labels[index_HW.ravel()] = labels_HW.ravel()
    return labels


def find_specks(labels_HW: U8, limits_K: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Pixels of components below their class's limit, shape (H, W); labels are all below K."""
    index_HW, areas = components(labels_HW)
    labels = component_labels(labels_HW, index_HW, len(areas))
    small: npt.NDArray[np.bool_] = areas < limits_K[labels]
    return small[index_HW]


def fill_from_nearest(labels_HW: U8, gaps_HW: npt.NDArray[np.bool_]) -> U8:
    """Gives every pixel in a gap the label of the nearest pixel outside (by city-block distance).

    Args:
        labels_HW: shape (H, W); left as it is.
        gaps_HW: where labels are missing or unwanted; shape (H, W).

    Returns:
        Labels without gaps; unchanged where everything is a gap.
    """
    filled_HW = labels_HW.copy()
    if gaps_HW.any() and not gaps_HW.all():
        _grow(filled_HW, gaps_HW)
    return filled_HW


def without_specks(labels_HW: U8, limits_K: npt.NDArray[np.float64]) -> U8:
    """Labels with every speck given to the nearest other component."""
    return fill_from_nearest(labels_HW, find_specks(labels_HW, limits_K))


@numba.njit(cache=True, nogil=True, boundscheck=False)
def _flood(labels, index):  # type: ignore[no-untyped-def]
    height, width = labels.shape
    stack = np.empty(height * width, dtype=np.int64)
    count = 0
    for start in range(height * width):
        y, x = start // width, start % width
        if index[y, x] >= 0:
            continue
        label = labels[y, x]
        index[y, x] = count
        stack[0] = start
        top = 1
        while top > 0:
            top -= 1
            y, x = stack[top] // width, stack[top] % width
            for step in range(4 if label == 0 else 8):
                ny, nx = y + _STEPS[step, 0], x + _STEPS[step, 1]
                inside = 0 <= ny < height and 0 <= nx < width
                if inside and index[ny, nx] < 0 and labels[ny, nx] == label:
                    index[ny, nx] = count
                    stack[top] = ny * width + nx
                    top += 1
        count += 1
    return count


@numba.njit(cache=True, nogil=True, boundscheck=False)
def _grow(labels, gaps):  # type: ignore[no-untyped-def]
    height, width = labels.shape
    queue = np.empty(height * width, dtype=np.int64)
    done = np.zeros((height, width), dtype=np.bool_)
    end = 0
    for y in range(height):
        for x in range(width):
            if not gaps[y, x]:
                done[y, x] = True
                queue[end] = y * width + x
                end += 1
    first = 0
    while first < end:
        y, x = queue[first] // width, queue[first] % width
        first += 1
        for step in range(4):
            ny, nx = y + _STEPS[step, 0], x + _STEPS[step, 1]
            if 0 <= ny < height and 0 <= nx < width and not done[ny, nx]:
                done[ny, nx] = True
                labels[ny, nx] = labels[y, x]
                queue[end] = ny * width + nx
                end += 1
