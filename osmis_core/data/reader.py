"""The reader: an uploaded image and its mask, or the image alone, in; one checked pair out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from osmis_core.data.decode import DecodedImage, check_file_name, decode_image
from osmis_core.data.mask import interpret_mask
from osmis_core.data.pair import U8, WITHOUT_MASK, Pair
from osmis_core.data.raw_mask import MaskEncoding, RawMask, load_mask
from osmis_core.data.size_plan import check_dimensions
from osmis_core.data.storage import load_normalised, save_normalised
from osmis_core.errors import PairError

__all__ = ["ReadOptions", "check_file_name", "load_normalised", "read_pair", "save_normalised"]


@dataclass(frozen=True, kw_only=True)
class ReadOptions:
    """How to read a pair.

    Attributes:
        class_names: 2–32 names by index, the background first; made up where None.
        mask_encoding: declared, or ``auto`` to detect it.
        ignore_index: mask value without a label, 0–255; for colours a grey level.
        max_pixels: larger files are refused before they are loaded.
    """

    class_names: tuple[str, ...] | None = None
    mask_encoding: MaskEncoding = "auto"
    ignore_index: int | None = None
    max_pixels: int = 50_000_000


def read_pair(
    image: bytes | Path, mask: bytes | Path | None, options: ReadOptions | None = None
) -> Pair:
    """Reads and checks an image and its mask.

    Args:
        image: PNG, JPEG, WebP or TIFF.
        mask: PNG, TIFF or lossless WebP with class indices, two values, or colours;
            None for an image alone.
        options: what the user declared; of an image alone, how large it may be.

    Returns:
        The pair; its notices say what was converted, detected or looks odd.

    Raises:
        PairError: the pair can't be used; ``code`` and ``hint`` say why and what to do.
        OSError: a path can't be read.
    """
    options = options or ReadOptions()
    decoded = decode_image(_content(image), options.max_pixels)
    if mask is None:
        return _image_alone(decoded)
    raw = load_mask(_content(mask), options.mask_encoding, options.max_pixels)
    _check_sizes(decoded.image_HWC, raw)
    check_dimensions(*raw.labels_HW.shape)
    read = interpret_mask(raw, options.mask_encoding, options.class_names, options.ignore_index)
    return Pair(
        image_HWC=np.ascontiguousarray(decoded.image_HWC),
        mask_HW=read.mask_HW,
        class_names=read.class_names,
        is_grey=decoded.is_grey,
        encoding=read.encoding,
        encoding_declared=options.mask_encoding != "auto",
        notices=(*decoded.notices, *read.notices),
    )


def _image_alone(decoded: DecodedImage) -> Pair:
    height, width = decoded.image_HWC.shape[:2]
    check_dimensions(height, width)
    return Pair(
        image_HWC=np.ascontiguousarray(decoded.image_HWC),
        mask_HW=np.zeros((height, width), dtype=np.uint8),
        class_names=WITHOUT_MASK,
        is_grey=decoded.is_grey,
        encoding="none",
        encoding_declared=True,
        notices=decoded.notices,
        has_mask=False,
    )


def _content(source: bytes | Path) -> bytes:
    return source.read_bytes() if isinstance(source, Path) else source


def _check_sizes(image_HWC: U8, raw: RawMask) -> None:
    height, width = image_HWC.shape[:2]
    mask_height, mask_width = raw.labels_HW.shape
    if (height, width) == (mask_height, mask_width):
        return
    hint = "Send the mask that was made for this very image."
    if (height, width) == (mask_width, mask_height):
        hint = "One of the two is turned by 90°: turn it, and save it without EXIF orientation."
    elif abs(mask_width * height / (mask_height * width) - 1.0) < 0.02:
        hint = f"Resize the mask to {width}×{height} with nearest neighbour."
    raise PairError(
        f"the image has {width}×{height} pixels, the mask {mask_width}×{mask_height}",
        hint=hint,
        code="size_mismatch",
    )
