"""Filtering augmentation: four frequency bands of the image are amplified or damped.

The bands are octaves of the radial frequency, [0, 1/8], [1/8, 1/4], [1/4, 1/2] and [1/2, 1] of
the Nyquist frequency of the **full-size** image: a smaller scale of it sees the lower bands only.
Images are filtered in the basis of the discrete cosine transform (DCT-II), which continues them
by reflection, as the geometric transforms do. There a cosine with k half periods to the frame has
index k at every scale, so one gain belongs to one content of the picture whatever its scale.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

from osmis_core.augment.draws import BatchDraws

BAND_EDGES = (1 / 8, 1 / 4, 1 / 2)
BAND_POWER = (10 / 13, 1 / 13, 1 / 13, 1 / 13)
"""Share of each band in the power of natural images, whose spectrum falls as 1/f."""
GAIN_STD_LOG2 = 1.0
CROSSOVER_OCTAVES = 0.5
"""Over which neighbouring bands fade into each other: hard edges would ring."""


def draw_band_gains(draws: BatchDraws) -> Tensor:
    """Gains of the four bands, lowest first: (B, 4).

    Each band in turn is chosen or not; its factor 2^N(0, 1) is normalised with the other bands'
    so that the expected power stays, and the gains multiply.
    """
    power_4 = torch.tensor(BAND_POWER)
    gains_B4 = torch.ones(draws.batch, len(BAND_POWER))
    for band in range(len(BAND_POWER)):
        factor_B4 = torch.ones_like(gains_B4)
        factor_B4[:, band] = draws.log2_normal(GAIN_STD_LOG2)
        factor_B4 /= (factor_B4.square() @ power_4).sqrt()[:, None]
        gains_B4 *= draws.gated(factor_B4, 1.0)
    return gains_B4


def filter_bands(image_BCHW: Tensor, gains_B4: Tensor, full_hw: tuple[int, int]) -> Tensor:
    """Scales the bands of images that are one scale of a frame of ``full_hw``.

    The highest band's gain acts on the whole; only where lower bands differ from it, on the
    coefficients that they reach and the samples that were chosen, is there more to compute. A GPU
    is not asked which those are: it would be waited for.
    """
    if gains_B4.is_cuda:
        chosen_N = torch.arange(len(gains_B4), device=gains_B4.device)
    else:
        chosen_N = (gains_B4 != 1).any(1).nonzero()[:, 0]
    if len(chosen_N) == 0:
        return image_BCHW
    weights_3hw = band_weights(*image_BCHW.shape[2:], *full_hw, gains_B4.device)[:-1]
    low_h, low_w = weights_3hw.shape[1:]
    highest_N1 = gains_B4[chosen_N, -1:]
    excess_Nhw = torch.einsum("nb,bhw->nhw", gains_B4[chosen_N, :-1] - highest_N1, weights_3hw)
    like = (image_BCHW.dtype, image_BCHW.device)
    rows_hH = dct_matrix(image_BCHW.shape[2], *like)[:low_h]
    columns_wW = dct_matrix(image_BCHW.shape[3], *like)[:low_w]
    samples_N = chosen_N.to(image_BCHW.device)
    spectrum_NChw = rows_hH @ (image_BCHW.index_select(0, samples_N) @ columns_wW.T)
    changed_NChw = spectrum_NChw * excess_Nhw[:, None].to(image_BCHW)
    scaled_BCHW = image_BCHW * gains_B4[:, -1, None, None, None].to(image_BCHW)
    return scaled_BCHW.index_add(0, samples_N, (rows_hH.T @ changed_NChw) @ columns_wW)


@lru_cache(maxsize=16)
def band_weights(
    height: int,
    width: int,
    full_height: int,
    full_width: int,
    device: torch.device | None = None,
) -> Tensor:
    """How much the DCT coefficients of one scale belong to each band.

    Returns:
        Weights of shape (4, h, w), summing to 1 over the bands. The coefficients beyond h and w
        belong to the highest band alone.
    """
    reach = BAND_EDGES[-1] * 2 ** (CROSSOVER_OCTAVES / 2)
    low_h = min(height, math.ceil(reach * full_height))
    low_w = min(width, math.ceil(reach * full_width))
    vertical_h1 = torch.arange(low_h)[:, None] / full_height
    horizontal_1w = torch.arange(low_w)[None] / full_width
    octave_hw = torch.hypot(vertical_h1, horizontal_1w).log2()  # −∞ for the mean
    above = [
        torch.sin(_ramp(octave_hw - math.log2(edge)) * (math.pi / 2)).square()
        for edge in BAND_EDGES
    ]
    one, zero = torch.ones_like(octave_hw), torch.zeros_like(octave_hw)
    starts, ends = [one, *above], [*above, zero]
    bands = [start - end for start, end in zip(starts, ends, strict=True)]
    return torch.stack(bands).to(device)


@lru_cache(maxsize=32)
def dct_matrix(size: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """The orthonormal DCT-II: row k is a cosine with k half periods, (size, size)."""
    position = torch.arange(size, dtype=torch.float64) + 0.5
    frequency = torch.arange(size, dtype=torch.float64)[:, None]
    matrix = torch.cos(frequency * position * (math.pi / size)) * math.sqrt(2 / size)
    matrix[0] /= math.sqrt(2)
    return matrix.to(device, dtype)


def _ramp(octaves_above_edge_hw: Tensor) -> Tensor:
    return (octaves_above_edge_hw / CROSSOVER_OCTAVES + 0.5).clamp(0, 1)
