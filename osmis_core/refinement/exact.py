"""Exact nearest neighbours between all 5×5 patches of two small feature arrays.

Patches overlap, so the scalar products of all pairs follow from sums of products of single
pixels: for two rows of patches the products of five-pixel columns make a matrix, and the sum of
five of its entries along a diagonal is the product of two patches. That takes a fifth of the
arithmetic of one big matrix product, and nothing has to be kept.
"""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

from osmis_core.parallel import RowBands
from osmis_core.refinement.features import F32, LANES, PATCH, RADIUS

I32 = npt.NDArray[np.int32]

_L = LANES
_P = PATCH


def nearest_patches(
    bands: RowBands, query: F32, source: F32, weights_HW: F32 | None = None
) -> tuple[F32, I32]:
    """For every patch of ``query`` the patch of ``source`` of least weighted squared distance.

    Args:
        bands: where to run.
        query: features of Hq × Wq pixels (:func:`osmis_core.refinement.features.pack`).
        source: features of Hs × Ws pixels, as many groups.
        weights_HW: factor on the distance to each source patch, shape (Hs, Ws); None is 1.

    Returns:
        The least weighted distance, shape (Hq, Wq), and the source row and column it was found
        at, shape (Hq, Wq, 2); of equals the first in reading order.
    """
    query_h, query_w = _patch_grid(query)
    source_h, source_w = _patch_grid(source)
    if weights_HW is None:
        weights_HW = np.ones((source_h, source_w), dtype=np.float32)
    planes = _planes(source)
    distance_HW = np.empty((query_h, query_w), dtype=np.float32)
    field_HW2 = np.empty((query_h, query_w, 2), dtype=np.int32)
    bands.run(
        _search_band,
        query_h,
        query,
        patch_norms(query),
        planes,
        patch_norms(source),
        weights_HW,
        distance_HW,
        field_HW2,
        band=4,
    )
    return distance_HW, field_HW2


def complete_matches(bands: RowBands, query: F32, source: F32, alpha: float) -> I32:
    """Nearest neighbours by the completeness-weighted distance d / (α + min d).

    The minimum is over the query's patches: source patches that nothing matches well become
    cheaper, so that all of the source has its chance to appear (Granot et al., CVPR 2022).

    Args:
        bands: where to run.
        query: features of the sample.
        source: features of the source.
        alpha: α, in units of the summed squared distance of a patch.

    Returns:
        Source row and column of every query patch, shape (Hq, Wq, 2).
    """
    least_HW, _ = nearest_patches(bands, source, query)
    weights_HW = (1.0 / (alpha + np.maximum(least_HW, 0))).astype(np.float32)
    return nearest_patches(bands, query, source, weights_HW)[1]


def patch_norms(features: F32) -> F32:
    """Sum of squares of every patch, shape (H, W)."""
    groups, padded_h, row = features.shape
    squares_HW = np.square(features.reshape(groups, padded_h, row // LANES, LANES)).sum(axis=(0, 3))
    height, width = _patch_grid(features)
    norms_HW = np.zeros((height, width), dtype=np.float32)
    for dy in range(PATCH):
        for dx in range(PATCH):
            norms_HW += squares_HW[dy : dy + height, dx : dx + width]
    return norms_HW


def _patch_grid(features: F32) -> tuple[int, int]:
    return features.shape[1] - 2 * RADIUS, features.shape[2] // LANES - 2 * RADIUS


def _planes(features: F32) -> F32:
    """The same features with each channel of a row in one run: (G, H + 4, 8, W + 4)."""
    groups, padded_h, row = features.shape
    pixels = features.reshape(groups, padded_h, row // LANES, LANES)
    return np.ascontiguousarray(pixels.transpose(0, 1, 3, 2))


@numba.njit(cache=True, nogil=True, fastmath=True, boundscheck=False)
def _column_products(query, y, planes, source_y, products):  # type: ignore[no-untyped-def]
    """Scalar products of the five-pixel columns of one query row with those of one source row."""
    columns = products.shape[1]
    for x in range(products.shape[0]):
        target = products[x]
        for g in range(query.shape[0]):
            for dy in range(_P):
                pixel = query[g, y + dy, x * _L : x * _L + _L]
                q0, q1, q2, q3 = pixel[0], pixel[1], pixel[2], pixel[3]
                q4, q5, q6, q7 = pixel[4], pixel[5], pixel[6], pixel[7]
                plane = planes[g, source_y + dy]
                keep = np.float32(0.0 if g == 0 and dy == 0 else 1.0)
                for i in range(columns):
                    target[i] = keep * target[i] + (
                        q0 * plane[0, i]
                        + q1 * plane[1, i]
                        + q2 * plane[2, i]
                        + q3 * plane[3, i]
                        + q4 * plane[4, i]
                        + q5 * plane[5, i]
                        + q6 * plane[6, i]
                        + q7 * plane[7, i]
                    )


@numba.njit(cache=True, nogil=True, fastmath=True, boundscheck=False)
def _search_band(  # type: ignore[no-untyped-def]
    first, end, query, query_norms, planes, source_norms, weights, distance, field
):
    width = query_norms.shape[1]
    source_h, source_w = source_norms.shape
    products = np.zeros((width + _P - 1, source_w + _P - 1), dtype=np.float32)
    scores = np.empty(source_w, dtype=np.float32)
    for y in range(first, end):
        for x in range(width):
            distance[y, x] = np.float32(3e38)
        for sy in range(source_h):
            _column_products(query, y, planes, sy, products)
            norms = source_norms[sy]
            factors = weights[sy]
            for x in range(width):
                p0, p1, p2 = products[x], products[x + 1], products[x + 2]
                p3, p4 = products[x + 3], products[x + 4]
                norm = query_norms[y, x]
                least = np.float32(3e38)
                for i in range(source_w):
                    cross = p0[i] + p1[i + 1] + p2[i + 2] + p3[i + 3] + p4[i + 4]
                    score = max(norm + norms[i] - np.float32(2) * cross, np.float32(0)) * factors[i]
                    scores[i] = score
                    least = min(least, score)
                if least < distance[y, x]:
                    distance[y, x] = least
                    field[y, x, 0] = sy
                    for i in range(source_w):
                        if scores[i] == least:
                            field[y, x, 1] = i
                            break
