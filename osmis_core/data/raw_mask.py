"""Loading a mask file: what it stores, before anything is concluded from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from osmis_core.data.decode import is_lossy, open_image
from osmis_core.errors import PairError

MaskEncoding = Literal["auto", "index", "binary", "rgb"]
Labels = npt.NDArray[np.int32]

MAX_CLASSES = 32
_LARGEST_VALUE = 65535


@dataclass(frozen=True, kw_only=True, eq=False)
class RawMask:
    """What a mask file stores, before it is interpreted.

    Attributes:
        labels_HW: int32, shape (H, W): stored values, or colours as 0xRRGGBB.
        is_colour: the labels are colours.
        is_turned: EXIF orientation was applied.
        is_palette: the labels are indices into the file's palette.
    """

    labels_HW: Labels
    is_colour: bool
    is_turned: bool
    is_palette: bool


def load_mask(content: bytes, encoding: MaskEncoding, max_pixels: int) -> RawMask:
    """Loads what a mask file stores: palette indices as they are, grey colours as values.

    Args:
        content: the file's bytes.
        encoding: ``rgb`` turns palettes and grey values into colours, too.
        max_pixels: larger masks are refused before they are loaded.

    Raises:
        PairError: as ``open_image``; ``lossy_mask``, ``too_many_classes``, ``encoding_mismatch``.
    """
    image = open_image(content, "mask", max_pixels)
    if is_lossy(image, content):
        raise lossy(f"the mask is a lossy {image.format}: compression has changed its values")
    is_palette = image.mode in {"P", "PA"} and encoding != "rgb"
    labels_HW, is_colour = _stored_labels(image, as_colour=encoding == "rgb")
    return RawMask(
        labels_HW=labels_HW,
        is_colour=is_colour,
        is_turned=bool(image.info["turned"]),
        is_palette=is_palette,
    )


def _stored_labels(image: Image.Image, *, as_colour: bool) -> tuple[Labels, bool]:
    """The labels as int32, and whether they are colours."""
    if image.mode in {"P", "PA"} and not as_colour:
        band = image if image.mode == "P" else image.getchannel("P")
        return np.asarray(band).astype(np.int32), False
    if image.mode in {"1", "L", "I", "F"} or image.mode.startswith("I;"):
        labels_HW = _whole_numbers(image)
        if as_colour and labels_HW.max() > 255:
            raise PairError(
                "the mask is declared as rgb and has grey values above 255",
                hint="Declare mask_encoding=index.",
                code="encoding_mismatch",
            )
        return (labels_HW * 0x010101, True) if as_colour else (labels_HW, False)
    # In place and a channel at a time: a mask of 50 megapixels must not take gigabytes.
    rgba_HWC = np.asarray(image.convert("RGBA"))
    red, green, blue, alpha = np.moveaxis(rgba_HWC, -1, 0)
    if bool(((alpha > 0) & (alpha < 255)).any()):
        raise lossy("the mask is partly transparent")
    transparent = alpha == 0
    is_grey = bool(((red == green) & (green == blue) | transparent).all())
    labels_HW = red.astype(np.int32)
    if as_colour or not is_grey:
        for channel in (green, blue):
            labels_HW <<= 8
            labels_HW |= channel
    # A transparent background is a background: black, whatever colour hides in it.
    labels_HW[transparent] = 0
    return labels_HW, as_colour or not is_grey


def _whole_numbers(image: Image.Image) -> Labels:
    values_HW = np.asarray(image)
    if image.mode == "F" and not (np.isfinite(values_HW) & (values_HW == np.rint(values_HW))).all():
        raise lossy("the mask has fractional values")
    if values_HW.min() < 0 or values_HW.max() > _LARGEST_VALUE:
        raise too_many_classes(f"values from {values_HW.min()} to {values_HW.max()}")
    return values_HW.astype(np.int32)


def too_many_classes(found: str) -> PairError:
    """The refusal of a mask with more classes than can be learned."""
    return PairError(
        f"the mask has {found}; at most {MAX_CLASSES} classes can be learned from one image",
        hint="Merge classes; if the values number instances, give all of a kind the same index.",
        code="too_many_classes",
    )


def lossy(problem: str) -> PairError:
    """The refusal of a mask whose values were blended or compressed."""
    return PairError(
        problem,
        hint="Save the mask as PNG, without JPEG on the way, anti-aliasing or smooth resizing (use "
        "nearest neighbour); check that image and mask are not swapped.",
        code="lossy_mask",
    )
