"""The nearest-neighbour field: carrying it to a finer size and improving it there.

A field is int32, shape (H, W, 2): the source row and column at the centre of the patch matched
to each pixel. Improvement is PatchMatch (Barnes et al., SIGGRAPH 2009) in bands of rows: inside
a band in reading order and back, across its edges from the field as it was before the pass.
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
_RUN = PATCH * LANES
"""Values in a patch's row. Handed to the compiled loops at run time: a loop of known length is
unrolled before it can be vectorised, and then takes six times as long."""
_FAR = np.float32(3e38)


def carry_field(field_HW2: I32, from_hw: tuple[int, int], to_hw: tuple[int, int]) -> I32:
    """Stretches a field to a finer size, keeping offsets inside each old pixel.

    Args:
        field_HW2: matches at the coarser size, whose source had ``from_hw`` pixels as well.
        from_hw: height and width of the field and of its source.
        to_hw: the same at the finer size.

    Returns:
        The field at the finer size, shape (*to_hw, 2).
    """
    carried = np.empty((*to_hw, 2), dtype=np.int32)
    coarse_y = np.arange(to_hw[0]) * from_hw[0] // to_hw[0]
    coarse_x = np.arange(to_hw[1]) * from_hw[1] // to_hw[1]
    nearest = field_HW2[coarse_y[:, None], coarse_x[None, :]]
    for axis, (coarse, shape) in enumerate(((coarse_y, (-1, 1)), (coarse_x, (1, -1)))):
        ratio = to_hw[axis] / from_hw[axis]
        within = (np.arange(to_hw[axis]) - coarse * ratio).reshape(shape)
        position = np.rint(nearest[..., axis] * ratio + within)
        carried[..., axis] = np.clip(position, 0, to_hw[axis] - 1)
    return carried


def improve_field(
    bands: RowBands,
    query: F32,
    source: F32,
    field_HW2: I32,
    *,
    radii_px: tuple[int, ...],
    coherence: float,
    seed: int,
) -> tuple[I32, F32]:
    """One forward and one backward pass of propagation and random search.

    Args:
        bands: where to run.
        query: features of the sample.
        source: features of the source.
        field_HW2: the matches to start from; left as it is.
        radii_px: random tries around the best match so far, one of each radius a pass.
        coherence: propagated matches win up to this share above the current distance.
        seed: of the random tries.

    Returns:
        The improved field and its squared patch distances, shape (H, W).
    """
    height, width = field_HW2.shape[:2]
    distance_HW = np.empty((height, width), dtype=np.float32)
    bands.run(_measure_band, height, query, source, field_HW2, distance_HW, _RUN)
    radii = np.array(radii_px, dtype=np.int32)
    for step in (1, -1):
        before = field_HW2
        field_HW2 = before.copy()
        key = np.uint32((seed * 2 + (step > 0)) & 0xFFFFFFFF)
        allowance = np.float32(1 + coherence)
        bands.run(
            _improve_band,
            height,
            query,
            source,
            before,
            field_HW2,
            distance_HW,
            step,
            radii,
            allowance,
            key,
            _RUN,
        )
    return field_HW2, distance_HW


@numba.njit(cache=True, nogil=True, fastmath=True, boundscheck=False)
def _patch_distance(query, qy, qx, source, sy, sx, bound, run):  # type: ignore[no-untyped-def]
    """Squared distance of two patches, or something >= bound as soon as it is known to be."""
    total = np.float32(0)
    for g in range(query.shape[0]):
        for dy in range(_P):
            a, b = query[g, qy + dy], source[g, sy + dy]
            a_start, b_start = np.uint64(qx * _L), np.uint64(sx * _L)
            part = np.float32(0)
            for i in range(run):
                difference = a[a_start + np.uint64(i)] - b[b_start + np.uint64(i)]
                part += difference * difference
            total += part
            if total >= bound:
                return total
    return total


@numba.njit(cache=True, nogil=True, boundscheck=False)
def _hash(key, a, b):  # type: ignore[no-untyped-def]
    """A counter-based random number: 32 well-mixed bits of (key, a, b)."""
    h = np.uint32(key) ^ (np.uint32(a) * np.uint32(0x9E3779B1))
    h = np.uint32((h ^ (h >> np.uint32(16))) * np.uint32(0x85EBCA6B))
    h = np.uint32(h + np.uint32(b) * np.uint32(0xC2B2AE35))
    h = np.uint32((h ^ (h >> np.uint32(15))) * np.uint32(0x27D4EB2F))
    h = np.uint32((h ^ (h >> np.uint32(13))) * np.uint32(0x165667B1))
    return np.uint32(h ^ (h >> np.uint32(16)))


@numba.njit(cache=True, nogil=True, fastmath=True, boundscheck=False)
def _measure_band(first, end, query, source, field, distance, run):  # type: ignore[no-untyped-def]
    for y in range(first, end):
        for x in range(field.shape[1]):
            distance[y, x] = _patch_distance(
                query, y, x, source, field[y, x, 0], field[y, x, 1], _FAR, run
            )


@numba.njit(cache=True, nogil=True, fastmath=True, boundscheck=False)
def _improve_band(  # type: ignore[no-untyped-def]
    first, end, query, source, before, field, distance, step, radii, allowance, key, run
):
    height, width = field.shape[:2]
    source_h = source.shape[1] - _P + 1
    source_w = source.shape[2] // _L - _P + 1
    for row in range(end - first):
        y = first + row if step > 0 else end - 1 - row
        above = y - step
        for column in range(width):
            x = column if step > 0 else width - 1 - column
            best = distance[y, x]
            best_y, best_x = field[y, x, 0], field[y, x, 1]
            if 0 <= x - step < width:
                sy = field[y, x - step, 0]
                sx = min(max(field[y, x - step, 1] + step, 0), source_w - 1)
                d = _patch_distance(query, y, x, source, sy, sx, best * allowance, run)
                if d < best * allowance:
                    best, best_y, best_x = d, sy, sx
            if 0 <= above < height:
                # rows of other bands may be half done: those are read as they were before the pass
                matches = field if first <= above < end else before
                sy = min(max(matches[above, x, 0] + step, 0), source_h - 1)
                sx = matches[above, x, 1]
                d = _patch_distance(query, y, x, source, sy, sx, best * allowance, run)
                if d < best * allowance:
                    best, best_y, best_x = d, sy, sx
            for i in range(radii.shape[0]):
                h = _hash(key + np.uint32(i), y, x)
                span = np.uint32(2 * radii[i] + 1)
                sy = best_y + np.int64((h & np.uint32(0xFFFF)) % span) - radii[i]
                sx = best_x + np.int64((h >> np.uint32(16)) % span) - radii[i]
                sy = min(max(sy, 0), source_h - 1)
                sx = min(max(sx, 0), source_w - 1)
                d = _patch_distance(query, y, x, source, sy, sx, best, run)
                if d < best:
                    best, best_y, best_x = d, sy, sx
            distance[y, x] = best
            field[y, x, 0] = best_y
            field[y, x, 1] = best_x


def continue_to_borders(field_HW2: I32) -> I32:
    """Matches near a border are those of the nearest whole patch, carried on.

    A patch that reaches over the border is filled up by reflection, and what is mirrored there
    meets the border at a right angle: a coin that the border cuts would grow a neck.

    Args:
        field_HW2: the matches in a source of the same size, shape (H, W, 2).

    Returns:
        The same inside; all as it was where a side is too short to have an inside.
    """
    height, width = field_HW2.shape[:2]
    if min(height, width) <= 2 * RADIUS:
        return field_HW2
    rows, columns = np.arange(height), np.arange(width)
    from_rows = rows.clip(RADIUS, height - 1 - RADIUS)
    from_columns = columns.clip(RADIUS, width - 1 - RADIUS)
    carried = field_HW2[from_rows[:, None], from_columns]
    carried[..., 0] += (rows - from_rows)[:, None].astype(np.int32)
    carried[..., 1] += (columns - from_columns).astype(np.int32)
    kept: I32 = carried.clip(0, np.array((height, width), dtype=np.int32) - 1)
    return kept


def enlarge(bands: RowBands, features: F32, to_hw: tuple[int, int]) -> F32:
    """Features enlarged by linear interpolation, borders reflected anew."""
    groups, padded_h, row = features.shape
    enlarged = np.empty(
        (groups, to_hw[0] + 2 * RADIUS, (to_hw[1] + 2 * RADIUS) * LANES), dtype=np.float32
    )
    ratio_y = (padded_h - 2 * RADIUS) / to_hw[0]
    ratio_x = (row // LANES - 2 * RADIUS) / to_hw[1]
    bands.run(_enlarge_band, enlarged.shape[1], features, enlarged, ratio_y, ratio_x)
    return enlarged


@numba.njit(cache=True, nogil=True, boundscheck=False)
def _enlarge_band(first, end, features, enlarged, ratio_y, ratio_x):  # type: ignore[no-untyped-def]
    height = enlarged.shape[1] - _P + 1
    width = enlarged.shape[2] // _L - _P + 1
    last_y = features.shape[1] - _P
    last_x = features.shape[2] // _L - _P
    for padded_y in range(first, end):
        y = abs(padded_y - _P // 2)
        y = min(y, 2 * (height - 1) - y)
        from_y = min(max((y + 0.5) * ratio_y - 0.5, 0.0), last_y)
        y0 = min(int(from_y), max(last_y - 1, 0))
        wy = np.float32(from_y - y0)
        for padded_x in range(width + _P - 1):
            x = abs(padded_x - _P // 2)
            x = min(x, 2 * (width - 1) - x)
            from_x = min(max((x + 0.5) * ratio_x - 0.5, 0.0), last_x)
            x0 = min(int(from_x), max(last_x - 1, 0))
            wx = np.float32(from_x - x0)
            left, right = (x0 + _P // 2) * _L, (x0 + 1 + _P // 2) * _L
            one = np.float32(1)
            for g in range(features.shape[0]):
                upper = features[g, y0 + _P // 2]
                lower = features[g, y0 + 1 + _P // 2]
                for i in range(_L):
                    high = (one - wx) * upper[left + i] + wx * upper[right + i]
                    low = (one - wx) * lower[left + i] + wx * lower[right + i]
                    enlarged[g, padded_y, padded_x * _L + i] = (one - wy) * high + wy * low
