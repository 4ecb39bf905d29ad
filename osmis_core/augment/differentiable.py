"""Differentiable augmentation: the same draw for every scale of one image, and for its mask.

The transforms and their strengths are the published list of adaptive discriminator augmentation
(Karras et al., 2020): geometry, colour, filtering, noise and cutout, in this order. All random
state is in the draw; applying it is deterministic and differentiable with respect to the images.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from osmis_core.augment.colour import apply_colour, colour_matrix, draw_colour
from osmis_core.augment.corruption import Noise, add_noise, cut_out, draw_cutout, draw_noise
from osmis_core.augment.draws import BatchDraws
from osmis_core.augment.filtering import draw_band_gains, filter_bands
from osmis_core.augment.geometry import draw_geometry, resample, sampling_matrix


@dataclass(frozen=True, kw_only=True)
class AugmentationOptions:
    """Which families act, each of their transforms with ``probability`` on each sample."""

    probability: float = 0.3
    geometry: bool = True
    colour: bool = True
    filtering: bool = True
    noise: bool = True
    cutout: bool = True


@dataclass(frozen=True, kw_only=True)
class AugmentationDraw:
    """One batch's draw; None stands for a family that does not act.

    Attributes:
        full_hw: height and width that it was drawn for; smaller scales share the frame.
        sampling_B23: maps output positions to input positions, both in [−1, 1] coordinates.
        colour_B34: affine map of RGB, the last column an offset.
        band_gains_B4: of four frequency bands, lowest first.
        noise: at full size.
        cutout_px_B4: top, bottom, left, right of a rectangle in full-size pixels.
    """

    full_hw: tuple[int, int]
    sampling_B23: Tensor | None = None
    colour_B34: Tensor | None = None
    band_gains_B4: Tensor | None = None
    noise: Noise | None = None
    cutout_px_B4: Tensor | None = None


def draw(
    options: AugmentationOptions,
    batch: int,
    height: int,
    width: int,
    rng: torch.Generator,
    *,
    same_shapes: bool = False,
) -> AugmentationDraw:
    """Draws the transforms of a batch of images of this size, on the CPU.

    Args:
        options: which families act.
        batch: B.
        height: of the images at full size.
        width: of the images at full size.
        rng: the only source of randomness.
        same_shapes: all draws have the same shapes; else noise is of the samples that have some.
    """
    size = (height, width)
    if options.probability == 0:
        return AugmentationDraw(full_hw=size)
    draws = BatchDraws(options.probability, batch, rng)
    drawn = AugmentationDraw(
        full_hw=size,
        sampling_B23=sampling_matrix(draw_geometry(draws, *size), *size)
        if options.geometry
        else None,
        colour_B34=colour_matrix(draw_colour(draws)) if options.colour else None,
        band_gains_B4=draw_band_gains(draws) if options.filtering else None,
        noise=draw_noise(draws, *size) if options.noise else None,
        cutout_px_B4=draw_cutout(draws, *size) if options.cutout else None,
    )
    if drawn.noise is None or not same_shapes:
        return drawn
    return replace(drawn, noise=drawn.noise.of_all(batch))


def augment_images(images_BCHW: list[Tensor], drawn: AugmentationDraw) -> list[Tensor]:
    """Applies one draw to every scale; (B, 3, h, w) each, about [−1, 1], not clipped.

    Computed in float32 at least, autocast or not: bfloat16 positions would be off by a pixel.
    """
    with torch.autocast(images_BCHW[0].device.type, enabled=False):
        return [_augment_image(image_BCHW, drawn) for image_BCHW in images_BCHW]


def augment_mask(mask_BKHW: Tensor, drawn: AugmentationDraw) -> Tensor:
    """Applies the draw's geometry to the masks by nearest neighbour, so that hard stays hard.

    A cutout leaves the mask as it is. Cleared under the cut, a small class could vanish from the
    mask, and the object loss treats a vanished class as absent in real pairs but as a fault in
    generated ones: the generator would learn to put objects elsewhere as well. Uncut, real and
    generated pairs are treated alike, at the price that a class is now and then judged on grey.
    """
    if drawn.sampling_B23 is None:
        return mask_BKHW
    with torch.autocast(mask_BKHW.device.type, enabled=False):
        return resample(_at_least_float32(mask_BKHW), drawn.sampling_B23, "nearest")


def _augment_image(image_BCHW: Tensor, drawn: AugmentationDraw) -> Tensor:
    image_BCHW = _at_least_float32(image_BCHW)
    if drawn.sampling_B23 is not None:
        image_BCHW = resample(image_BCHW, drawn.sampling_B23, "bilinear")
    if drawn.colour_B34 is not None:
        image_BCHW = apply_colour(image_BCHW, drawn.colour_B34)
    if drawn.band_gains_B4 is not None:
        image_BCHW = filter_bands(image_BCHW, drawn.band_gains_B4, drawn.full_hw)
    if drawn.noise is not None:
        image_BCHW = add_noise(image_BCHW, drawn.noise)
    if drawn.cutout_px_B4 is not None:
        image_BCHW = cut_out(image_BCHW, drawn.cutout_px_B4, drawn.full_hw)
    return image_BCHW


def _at_least_float32(x_BCHW: Tensor) -> Tensor:
    return x_BCHW.float() if x_BCHW.dtype in {torch.bfloat16, torch.float16} else x_BCHW
