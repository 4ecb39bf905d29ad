"""Matches of many samples at once, as tensor code for any device.

The same search as in ``exact`` and ``field``, whose loops go pixel by pixel; here every step is
taken for all pixels of all samples together. The order of propagation is the one thing that
differs: a match can't run along a row within one step, so it jumps by several distances instead
(as in jump flooding, Rong & Tan, I3D 2006), before every random try. The tries are those of
``field``, number for number.

Features are float32 of shape (…, H + 4, W + 4, C), the used channels of
:func:`osmis_core.refinement.features.pack` with its two reflected pixels on every side. A field
is int64, shape (B, H, W, 2): the source row and column at the centre of each pixel's match.
Nothing adds up over samples, so that none depends on what else is in the batch.
"""

from __future__ import annotations

import torch
from torch import Tensor

from osmis_core.refinement.features import F32, LANES, PATCH, RADIUS

_JUMPS_PX = (4, 2, 1)
"""With these, distances end where those of the loops do, within 1%; with two jumps 1% above."""
_BITS_32 = 0xFFFFFFFF


def unpack(packed: F32, channels: int) -> Tensor:
    """Features laid out for tensors.

    Args:
        packed: from :func:`osmis_core.refinement.features.pack`.
        channels: C, how many of its channels are in use.

    Returns:
        Shape (H + 4, W + 4, C), on the CPU.
    """
    groups, padded_h, row = packed.shape
    pixels_GHWL = torch.from_numpy(packed).view(groups, padded_h, row // LANES, LANES)
    return pixels_GHWL.permute(1, 2, 0, 3).flatten(2)[..., :channels].contiguous()


def complete_matches(
    query_BHWC: Tensor, source_HWC: Tensor, alpha: float, values_at_once: int
) -> Tensor:
    """Nearest neighbours by the completeness-weighted distance d / (α + min d).

    Args:
        query_BHWC: features of the samples.
        source_HWC: features of the source.
        alpha: α, in units of the summed squared distance of a patch.
        values_at_once: most distances held at a time.

    Returns:
        The fields; of equal distances the first in reading order.
    """
    source_ND = _patches(source_HWC)
    source_w = source_HWC.shape[1] - 2 * RADIUS
    rows, columns = (size - 2 * RADIUS for size in query_BHWC.shape[1:3])
    fields = []
    for query_HWC in query_BHWC:
        # one sample at a time: how a matrix product adds up may depend on the number of its rows
        chunks = torch.split(_patches(query_HWC), max(1, values_at_once // len(source_ND)))
        least_N = torch.stack([_distances(chunk, source_ND).amin(0) for chunk in chunks]).amin(0)
        weights_N = 1 / (alpha + least_N)
        nearest = [(_distances(chunk, source_ND) * weights_N).argmin(1) for chunk in chunks]
        nearest_HW = torch.cat(nearest).view(rows, columns)
        fields.append(torch.stack((nearest_HW // source_w, nearest_HW % source_w), -1))
    return torch.stack(fields)


def carry_field(field_BHW2: Tensor, to_hw: tuple[int, int]) -> Tensor:
    """Stretches fields to a finer size, keeping offsets inside each old pixel.

    Args:
        field_BHW2: matches at the coarser size, whose source was as large as the samples.
        to_hw: height and width at the finer size.

    Returns:
        The fields at the finer size.
    """
    axes = []
    for size_from, size_to in zip(field_BHW2.shape[1:3], to_hw, strict=True):
        fine = torch.arange(size_to, device=field_BHW2.device)
        ratio = size_to / size_from
        coarse = fine * size_from // size_to
        axes.append((coarse, fine - coarse.double() * ratio, ratio, size_to - 1))
    nearest_BHW2 = field_BHW2[:, axes[0][0]][:, :, axes[1][0]].double()
    within = (axes[0][1][:, None], axes[1][1][None, :])
    positions = [
        (nearest_BHW2[..., i] * ratio + within[i]).round().long().clamp(0, last)
        for i, (_, _, ratio, last) in enumerate(axes)
    ]
    return torch.stack(positions, -1)


def continue_to_borders(field_BHW2: Tensor) -> Tensor:
    """As :func:`osmis_core.refinement.field.continue_to_borders`, for a batch."""
    height, width = field_BHW2.shape[1:3]
    if min(height, width) <= 2 * RADIUS:
        return field_BHW2
    rows, columns = (torch.arange(n, device=field_BHW2.device) for n in (height, width))
    from_rows = rows.clamp(RADIUS, height - 1 - RADIUS)
    from_columns = columns.clamp(RADIUS, width - 1 - RADIUS)
    carried_BHW2 = field_BHW2[:, from_rows[:, None], from_columns]
    down_BHW = carried_BHW2[..., 0] + (rows - from_rows)[:, None]
    right_BHW = carried_BHW2[..., 1] + (columns - from_columns)
    return torch.stack((down_BHW.clamp(0, height - 1), right_BHW.clamp(0, width - 1)), -1)


class PatchDistances:
    """Squared distances between the samples' patches and the source's."""

    def __init__(self, query_BHWC: Tensor, source_HWC: Tensor, values_at_once: int) -> None:
        """Prepares both sides; nothing is copied.

        Args:
            query_BHWC: features of the samples.
            source_HWC: features of the source.
            values_at_once: most feature values gathered at a time.
        """
        self._values_at_once = values_at_once
        self._source_row = source_HWC.shape[1]
        # a row of a patch is one run of memory, which these overlapping views make a row of theirs
        self._query_BHWR = _runs(query_BHWC)
        self._source_NR = _runs(source_HWC.flatten(0, 1))

    def at(self, field_BHW2: Tensor) -> Tensor:
        """Distance of every pixel's patch to its match, shape (B, H, W)."""
        batch, height, width = field_BHW2.shape[:3]
        first_BHW = field_BHW2[..., 0] * self._source_row + field_BHW2[..., 1]
        values_a_row = batch * width * self._source_NR.shape[1]
        rows = max(1, self._values_at_once // values_a_row)
        return torch.cat(
            [self._rows(first_BHW[:, top : top + rows], top) for top in range(0, height, rows)], 1
        )

    def _rows(self, first_BHW: Tensor, top: int) -> Tensor:
        total_BHW = torch.zeros(first_BHW.shape, device=first_BHW.device)
        for dy in range(PATCH):
            difference_BHWR = self._source_NR[first_BHW + dy * self._source_row]
            bottom = top + dy + first_BHW.shape[1]
            difference_BHWR -= self._query_BHWR[:, top + dy : bottom]
            total_BHW += difference_BHWR.square_().sum(-1)
        return total_BHW


def improve_field(
    query_BHWC: Tensor,
    source_HWC: Tensor,
    field_BHW2: Tensor,
    *,
    radii_px: tuple[int, ...],
    coherence: float,
    seeds: list[int],
    values_at_once: int,
) -> tuple[Tensor, Tensor]:
    """Two passes of propagation and random search.

    Args:
        query_BHWC: features of the samples.
        source_HWC: features of the source.
        field_BHW2: the matches to start from; left as they are.
        radii_px: random tries around the best match so far, one of each radius a pass.
        coherence: propagated matches win up to this share above the current distance.
        seeds: of the random tries, one a sample.
        values_at_once: most feature values gathered at a time.

    Returns:
        The improved fields and their squared patch distances, shape (B, H, W).
    """
    distances = PatchDistances(query_BHWC, source_HWC, values_at_once)
    last = [size - 2 * RADIUS - 1 for size in source_HWC.shape[:2]]
    distance_BHW = distances.at(field_BHW2)

    def take_better(tried_BHW2: Tensor, allowance: float = 1.0) -> None:
        nonlocal field_BHW2, distance_BHW
        rows, columns = tried_BHW2.unbind(-1)
        tried_BHW2 = torch.stack((rows.clamp(0, last[0]), columns.clamp(0, last[1])), -1)
        tried_BHW = distances.at(tried_BHW2)
        better_BHW = tried_BHW < distance_BHW * allowance
        field_BHW2 = torch.where(better_BHW[..., None], tried_BHW2, field_BHW2)
        distance_BHW = torch.where(better_BHW, tried_BHW, distance_BHW)

    for step in (1, -1):
        keys = [(seed * 2 + (step > 0)) & _BITS_32 for seed in seeds]
        for i, radius in enumerate(radii_px):
            for jump in _JUMPS_PX:
                take_better(_continued(field_BHW2, 0, step * jump), 1 + coherence)
                take_better(_continued(field_BHW2, step * jump, 0), 1 + coherence)
            take_better(field_BHW2 + random_offsets(keys, i, radius, field_BHW2))
    return field_BHW2, distance_BHW


def random_offsets(keys: list[int], index: int, radius_px: int, like_BHW2: Tensor) -> Tensor:
    """Random steps of up to a radius along each axis, those that ``field`` tries.

    Args:
        keys: one a sample, in [0, 2³²).
        index: which of a pass's tries.
        radius_px: the largest step.
        like_BHW2: a field of the wanted shape and device.

    Returns:
        A function of (key, index, row, column) alone, in [-radius_px, radius_px].
    """
    device = like_BHW2.device
    key_B11 = torch.tensor(keys, device=device)[:, None, None] + index & _BITS_32
    y_H1 = torch.arange(like_BHW2.shape[1], device=device)[:, None]
    x_W = torch.arange(like_BHW2.shape[2], device=device)
    h = key_B11 ^ (y_H1 * 0x9E3779B1)
    h = (h ^ (h >> 16)) * 0x85EBCA6B & _BITS_32
    h = h + x_W * 0xC2B2AE35 & _BITS_32
    h = (h ^ (h >> 15)) * 0x27D4EB2F & _BITS_32
    h = (h ^ (h >> 13)) * 0x165667B1 & _BITS_32
    h = h ^ (h >> 16)
    return torch.stack(((h & 0xFFFF), (h >> 16)), -1) % (2 * radius_px + 1) - radius_px


def _continued(field_BHW2: Tensor, dy: int, dx: int) -> Tensor:
    """Each pixel's match if the one ``(dy, dx)`` before it went on; at borders the border's."""
    height, width = field_BHW2.shape[1:3]
    rows = torch.arange(height, device=field_BHW2.device)
    columns = torch.arange(width, device=field_BHW2.device)
    from_rows, from_columns = (rows - dy).clamp(0, height - 1), (columns - dx).clamp(0, width - 1)
    gone_HW2 = torch.stack(
        torch.meshgrid(rows - from_rows, columns - from_columns, indexing="ij"), -1
    )
    return field_BHW2[:, from_rows][:, :, from_columns] + gone_HW2


def _distances(query_MD: Tensor, source_ND: Tensor) -> Tensor:
    """Squared distances of all pairs, shape (M, N)."""
    norms_MN = query_MD.square().sum(1, keepdim=True) + source_ND.square().sum(1)
    return torch.addmm(norms_MN, query_MD, source_ND.T, alpha=-2).clamp_(min=0)


def _patches(features_HWC: Tensor) -> Tensor:
    """All patches in reading order, shape (H · W, 25 · C)."""
    runs_HWR = _runs(features_HWC)
    height = len(features_HWC) - 2 * RADIUS
    rows = [runs_HWR[dy : dy + height] for dy in range(PATCH)]
    return torch.cat(rows, -1).flatten(0, 1)


def _runs(features: Tensor) -> Tensor:
    """A view of the values of five pixels side by side: (…, W + 4, C) to (…, W, 5 · C)."""
    *outer, padded_w, channels = features.shape
    features = features.contiguous()
    return features.as_strided((*outer, padded_w - 2 * RADIUS, PATCH * channels), features.stride())
