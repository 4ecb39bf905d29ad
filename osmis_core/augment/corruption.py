"""Corruption: additive noise and cutout, drawn at full size and applied at every scale."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from osmis_core.augment.draws import BatchDraws

NOISE_STD = 0.1
CUTOUT_SHARE = 0.5
"""Side of the rectangle, as a share of the frame's."""
CHANNELS = 3


@dataclass(frozen=True)
class Noise:
    """Noise at full size, of the samples that have some.

    Attributes:
        samples_N: their indices in the batch.
        values_NCHW: what is added to them.
    """

    samples_N: Tensor
    values_NCHW: Tensor

    def of_all(self, batch: int) -> Noise:
        """The same with zeros for the samples that have none."""
        values_BCHW = self.values_NCHW.new_zeros((batch, *self.values_NCHW.shape[1:]))
        values_BCHW[self.samples_N] = self.values_NCHW
        return Noise(torch.arange(batch), values_BCHW)


def draw_noise(draws: BatchDraws, height: int, width: int) -> Noise:
    """Gaussian noise; its standard deviation is |N(0, 0.1²)|, drawn per image."""
    std_B = draws.normal(NOISE_STD).abs()
    samples_N = draws.chosen().nonzero()[:, 0]
    shape = (len(samples_N), CHANNELS, height, width)
    values_NCHW = torch.randn(shape, generator=draws.rng)
    return Noise(samples_N, values_NCHW * std_B[samples_N, None, None, None])


def add_noise(image_BCHW: Tensor, noise: Noise) -> Tensor:
    """Adds the noise, averaged over areas for smaller scales.

    That is what a smaller copy of a noisy image shows, so the scales of generated images, each
    augmented by itself, fit together like those of a real image, which is augmented once and then
    made smaller. At 1/s of the size the noise is s times weaker.
    """
    if len(noise.samples_N) == 0:
        return image_BCHW
    height, width = image_BCHW.shape[2:]
    values_NCHW = F.adaptive_avg_pool2d(noise.values_NCHW.to(image_BCHW), (height, width))
    return image_BCHW.index_add(0, noise.samples_N.to(image_BCHW.device), values_NCHW)


def draw_cutout(draws: BatchDraws, height: int, width: int) -> Tensor:
    """Rectangles of half the frame's sides: top, bottom, left, right in whole pixels, (B, 4).

    The centre lies anywhere in the frame; what hangs over its edge is lost. All zeros, an empty
    rectangle, where the transform does not act.
    """
    edges_B2 = []
    for size in (height, width):
        side = round(CUTOUT_SHARE * size)
        start_B = (draws.uniform(0, 1) * size - side / 2).round()
        edges_B2.append(torch.stack((start_B, start_B + side), 1).clamp(0, size))
    return draws.gated(torch.cat(edges_B2, 1), 0.0)


def cut_out(image_BCHW: Tensor, cutout_px_B4: Tensor, full_hw: tuple[int, int]) -> Tensor:
    """Makes the rectangles mid-grey (0), at any scale of a frame of ``full_hw``.

    At smaller scales a pixel that the rectangle covers in part is dimmed by that part: the same
    cut everywhere, to a fraction of a pixel.
    """
    height, width = image_BCHW.shape[2:]
    top, bottom, left, right = cutout_px_B4.to(image_BCHW)[:, :, None].unbind(1)
    rows_BH = _coverage(top, bottom, height, full_hw[0])
    columns_BW = _coverage(left, right, width, full_hw[1])
    return image_BCHW * (1 - rows_BH[:, None, :, None] * columns_BW[:, None, None, :])


def _coverage(start_B1: Tensor, end_B1: Tensor, size: int, full_size: int) -> Tensor:
    """Share of each of ``size`` cells between start and end, which are in full-size pixels."""
    cell = full_size / size
    edges = torch.arange(size + 1, device=start_B1.device, dtype=start_B1.dtype) * cell
    inside = torch.minimum(end_B1, edges[1:]) - torch.maximum(start_B1, edges[:-1])
    return inside.clamp_min(0) / cell
