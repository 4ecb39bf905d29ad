"""From matches to pixels: every pixel is voted for by the source patches that overlap it."""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

from osmis_core.parallel import RowBands
from osmis_core.refinement.features import F32, LANES, PATCH, RADIUS, reflect_borders

I32 = npt.NDArray[np.int32]
U8 = npt.NDArray[np.uint8]

_L = LANES
_P = PATCH
_R = RADIUS
_IGNORE = 255


def gaussian_patch(sigma_px: float) -> F32:
    """Weights of a patch's pixels by distance from its centre, shape (5, 5), 1 in the centre."""
    axis = np.arange(-RADIUS, RADIUS + 1)
    profile = np.exp(-np.square(axis) / (2 * sigma_px**2))
    return np.outer(profile, profile).astype(np.float32)


def vote_features(bands: RowBands, field_HW2: I32, source: F32, weights: F32) -> F32:
    """Features of the sample as the weighted mean of overlapping source patches.

    Args:
        bands: where to run.
        field_HW2: the matches, shape (H, W, 2).
        source: features that the matches point into.
        weights: from :func:`gaussian_patch`.

    Returns:
        Features of H × W pixels, borders reflected.
    """
    height, width = field_HW2.shape[:2]
    voted = np.empty(
        (source.shape[0], height + 2 * RADIUS, (width + 2 * RADIUS) * LANES), dtype=np.float32
    )
    bands.run(_vote_band, height, field_HW2, source, weights, voted, LANES)
    reflect_borders(voted)
    return voted


def vote_pair(
    bands: RowBands, field_HW2: I32, image_HWC: U8, labels_HW: U8, weights: F32, class_count: int
) -> tuple[U8, U8]:
    """The refined pair: mean colour, and the class with most weight among labelled votes.

    Args:
        bands: where to run.
        field_HW2: the matches, shape (H, W, 2).
        image_HWC: the source's image at the output size, shape (Hs, Ws, 3).
        labels_HW: its classes, 255 where unlabelled, shape (Hs, Ws).
        weights: from :func:`gaussian_patch`.
        class_count: K.

    Returns:
        Image, shape (H, W, 3), and classes, shape (H, W); 255 where no vote had a label.
    """
    height, width = field_HW2.shape[:2]
    image = np.empty((height, width, 3), dtype=np.uint8)
    labels = np.empty((height, width), dtype=np.uint8)
    bands.run(
        _vote_pair_band,
        height,
        field_HW2,
        image_HWC,
        labels_HW,
        weights,
        class_count,
        image,
        labels,
    )
    return image, labels


def verbatim_share(field_HW2: I32) -> float:
    """Share of pixels copied together with all their neighbours.

    Args:
        field_HW2: source row and column of every pixel, shape (H, W, 2).

    Returns:
        Share in [0, 1] of pixels whose offset into the source equals that of each of their
        (up to four) direct neighbours.
    """
    height, width = field_HW2.shape[:2]
    offsets = field_HW2 - np.indices((height, width)).transpose(1, 2, 0)
    coherent = np.ones((height, width), dtype=bool)
    same_down = (offsets[1:] == offsets[:-1]).all(axis=-1)
    same_right = (offsets[:, 1:] == offsets[:, :-1]).all(axis=-1)
    coherent[1:] &= same_down
    coherent[:-1] &= same_down
    coherent[:, 1:] &= same_right
    coherent[:, :-1] &= same_right
    return float(coherent.mean())


@numba.njit(cache=True, nogil=True, fastmath=True, boundscheck=False)
def _vote_band(first, end, field, source, weights, voted, lanes):  # type: ignore[no-untyped-def]
    height, width = field.shape[:2]
    total = np.empty(_L, dtype=np.float32)
    for g in range(source.shape[0]):
        for y in range(first, end):
            for x in range(width):
                weight_sum = np.float32(0)
                total[:] = 0
                for dy in range(max(-_R, y - height + 1), min(_R, y) + 1):
                    for dx in range(max(-_R, x - width + 1), min(_R, x) + 1):
                        row = field[y - dy, x - dx, 0] + dy + _R
                        start = np.uint64((field[y - dy, x - dx, 1] + dx + _R) * _L)
                        weight = weights[dy + _R, dx + _R]
                        pixels = source[g, row]
                        for i in range(lanes):
                            total[i] += weight * pixels[start + np.uint64(i)]
                        weight_sum += weight
                first_value = (x + _R) * _L
                for i in range(_L):
                    voted[g, y + _R, first_value + i] = total[i] / weight_sum


@numba.njit(cache=True, nogil=True, boundscheck=False)
def _reflect(position, size):  # type: ignore[no-untyped-def]
    position = abs(position)
    return min(position, 2 * (size - 1) - position)


@numba.njit(cache=True, nogil=True, fastmath=True, boundscheck=False)
def _vote_pair_band(  # type: ignore[no-untyped-def]
    first, end, field, source_image, source_labels, weights, class_count, image, labels
):
    height, width = field.shape[:2]
    source_h, source_w = source_labels.shape
    ballot = np.zeros(class_count, dtype=np.float32)
    half = np.float32(0.5)
    for y in range(first, end):
        for x in range(width):
            red, green, blue = np.float32(0), np.float32(0), np.float32(0)
            weight_sum = np.float32(0)
            ballot[:] = 0
            for dy in range(max(-_R, y - height + 1), min(_R, y) + 1):
                for dx in range(max(-_R, x - width + 1), min(_R, x) + 1):
                    sy = _reflect(field[y - dy, x - dx, 0] + dy, source_h)
                    sx = _reflect(field[y - dy, x - dx, 1] + dx, source_w)
                    weight = weights[dy + _R, dx + _R]
                    weight_sum += weight
                    red += weight * np.float32(source_image[sy, sx, 0])
                    green += weight * np.float32(source_image[sy, sx, 1])
                    blue += weight * np.float32(source_image[sy, sx, 2])
                    label = source_labels[sy, sx]
                    if label != _IGNORE:
                        ballot[label] += weight
            image[y, x, 0] = np.uint8(red / weight_sum + half)
            image[y, x, 1] = np.uint8(green / weight_sum + half)
            image[y, x, 2] = np.uint8(blue / weight_sum + half)
            winner, most = _IGNORE, np.float32(0)
            for k in range(class_count):
                if ballot[k] > most:
                    winner, most = k, ballot[k]
            labels[y, x] = winner
