"""Masks made visible: class colours, translucent fill and contours."""

from __future__ import annotations

import colorsys

import numpy as np
import numpy.typing as npt
from PIL import Image

from osmis_core.data.pair import IGNORE, U8

Colour = tuple[int, int, int]

# Far from each other, and from the browns, greens and greys that photographs are made of.
_CLASS_COLOURS: tuple[Colour, ...] = (
    (0, 178, 255),
    (255, 60, 120),
    (255, 200, 0),
    (110, 225, 60),
    (170, 95, 255),
    (255, 125, 0),
    (0, 215, 180),
    (240, 120, 240),
)
_IGNORED_COLOUR: Colour = (128, 128, 128)
_GOLDEN_RATIO = 0.618034
_FILL_OPACITY = 0.42
_SUPERSAMPLING = 2
_CONTOUR_PX = 3


def class_colour(index: int) -> Colour:
    """RGB of a class; the background (0) has none and is black."""
    if index == 0:
        return (0, 0, 0)
    if index <= len(_CLASS_COLOURS):
        return _CLASS_COLOURS[index - 1]
    red, green, blue = colorsys.hsv_to_rgb(index * _GOLDEN_RATIO % 1.0, 0.75, 0.95)
    return round(255 * red), round(255 * green), round(255 * blue)


def draw_overlay(image_HWC: U8, mask_HW: U8, width: int, height: int) -> Image.Image:
    """The image at a display size with its mask on top.

    Args:
        image_HWC: uint8 RGB.
        mask_HW: uint8 indices, ``IGNORE`` allowed, of the same size.
        width: of the drawing, in pixels.
        height: of the drawing, in pixels.

    Returns:
        RGB: every class but the background tinted and outlined in its colour, ignored parts grey.
    """
    fine_size = (width * _SUPERSAMPLING, height * _SUPERSAMPLING)
    shown = Image.fromarray(image_HWC).resize(fine_size, Image.Resampling.LANCZOS)
    pixels_HWC = np.asarray(shown).astype(np.float32)
    classes_HW = _resize_classes(mask_HW, fine_size)
    colours_N3 = np.array(
        [class_colour(index) for index in range(IGNORE)] + [_IGNORED_COLOUR], dtype=np.float32
    )
    tint_HWC = colours_N3[classes_HW]
    opacity_HW = np.where(classes_HW == 0, 0.0, _FILL_OPACITY)
    opacity_HW[_inner_contour(classes_HW) & (classes_HW != IGNORE)] = 1.0
    opacity_HW1 = opacity_HW[..., None].astype(np.float32)
    drawn_HWC = pixels_HWC + opacity_HW1 * (tint_HWC - pixels_HWC)
    drawn = Image.fromarray(np.rint(drawn_HWC).astype(np.uint8))
    return drawn.resize((width, height), Image.Resampling.BOX)


def _resize_classes(mask_HW: U8, size: tuple[int, int]) -> U8:
    """Resizes each class smoothly and takes the largest share, so that edges stay smooth."""
    present = np.unique(mask_HW)
    shares_NHW = np.stack(
        [
            np.asarray(
                Image.fromarray((mask_HW == value).astype(np.float32)).resize(
                    size, Image.Resampling.BILINEAR
                )
            )
            for value in present
        ]
    )
    classes_HW: U8 = present[shares_NHW.argmax(axis=0)]
    return classes_HW


def _inner_contour(classes_HW: U8) -> npt.NDArray[np.bool_]:
    """Pixels of a class within a few pixels of another one; the background has no contour."""
    contour_HW = np.zeros(classes_HW.shape, dtype=np.bool_)
    for distance in range(1, _CONTOUR_PX + 1):
        rows = classes_HW[distance:] != classes_HW[:-distance]
        columns = classes_HW[:, distance:] != classes_HW[:, :-distance]
        contour_HW[distance:] |= rows
        contour_HW[:-distance] |= rows
        contour_HW[:, distance:] |= columns
        contour_HW[:, :-distance] |= columns
    contour_HW &= classes_HW != 0
    return contour_HW
