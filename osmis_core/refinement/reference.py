"""The refinement's sums written plainly in NumPy: what the compiled loops are tested against."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from osmis_core.refinement.features import F32, LANES, PATCH, RADIUS

F64 = npt.NDArray[np.float64]
I32 = npt.NDArray[np.int32]
U8 = npt.NDArray[np.uint8]


def patches(features: F32) -> F64:
    """All patches of a feature array, shape (H, W, 25 · channels), float64."""
    groups, padded_h, row = features.shape
    pixels = features.reshape(groups, padded_h, row // LANES, LANES).astype(np.float64)
    windows = np.lib.stride_tricks.sliding_window_view(pixels, (PATCH, PATCH), axis=(1, 2))
    height, width = windows.shape[1:3]
    return windows.transpose(1, 2, 0, 3, 4, 5).reshape(height, width, -1)


def patch_distances(query: F32, source: F32) -> F64:
    """Squared distances of all patches, shape (Hq · Wq, Hs · Ws)."""
    a, b = (patches(f).reshape(-1, f.shape[0] * LANES * PATCH**2) for f in (query, source))
    return np.stack([np.square(row - b).sum(axis=1) for row in a])


def complete_matches(query: F32, source: F32, alpha: float) -> I32:
    """Nearest neighbours by d / (α + min d), shape (Hq, Wq, 2)."""
    distances = patch_distances(query, source)
    weighted = distances / (alpha + distances.min(axis=0))
    height, width, _ = patches(query).shape
    source_w = patches(source).shape[1]
    nearest = weighted.argmin(axis=1).reshape(height, width)
    return np.stack(np.divmod(nearest, source_w), axis=-1).astype(np.int32)


def vote(field_HW2: I32, source_HWC: F64, weights: F32) -> F64:
    """Weighted mean of the source pixels that overlapping patches lay on each pixel.

    Args:
        field_HW2: the matches, shape (H, W, 2).
        source_HWC: any values of the source's pixels, shape (Hs, Ws, C).
        weights: shape (5, 5).

    Returns:
        Shape (H, W, C).
    """
    height, width = field_HW2.shape[:2]
    border = (RADIUS, RADIUS)
    padded = np.pad(source_HWC, (border, border, (0, 0)), mode="reflect")
    voted = np.zeros((height, width, source_HWC.shape[2]))
    for y, x in np.ndindex(height, width):
        weight_sum = 0.0
        for dy, dx in np.ndindex(PATCH, PATCH):
            centre = (y - dy + RADIUS, x - dx + RADIUS)
            if 0 <= centre[0] < height and 0 <= centre[1] < width:
                sy, sx = field_HW2[centre]
                voted[y, x] += weights[dy, dx] * padded[sy + dy, sx + dx]
                weight_sum += float(weights[dy, dx])
        voted[y, x] /= weight_sum
    return voted
