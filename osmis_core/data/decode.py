"""Decoding untrusted image files: nothing is loaded before its format and size are known."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePath

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from osmis_core.data.pair import U8, Notice
from osmis_core.errors import PairError

READABLE_FORMATS = ("PNG", "JPEG", "WEBP", "TIFF")
# GIF is opened only to be refused by name.
_OPENED_FORMATS = (*READABLE_FORMATS, "GIF")
_EXTENSIONS = {
    "PNG": {".png", ".apng"},
    "JPEG": {".jpg", ".jpeg", ".jpe", ".jfif"},
    "WEBP": {".webp"},
    "TIFF": {".tif", ".tiff"},
    "GIF": {".gif"},
}
# What Pillow's decoders raise on damaged input.
_DECODE_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    TypeError,
    LookupError,
    ArithmeticError,
    struct.error,
    zlib.error,
)
_ORIENTATION_TAG = 0x0112
_BIT_DEPTHS = (8, 10, 12, 14, 16)


@dataclass(frozen=True, kw_only=True, eq=False)
class DecodedImage:
    """An image as the rest of the reader sees it.

    Attributes:
        image_HWC: uint8 sRGB, shape (H, W, 3).
        is_grey: the file has one colour channel.
        notices: what was converted on the way.
    """

    image_HWC: U8
    is_grey: bool
    notices: tuple[Notice, ...]


def open_image(content: bytes, what: str, max_pixels: int) -> Image.Image:
    """Opens, checks, loads and turns upright one still image, in the mode that it is stored in.

    Args:
        content: the file's bytes.
        what: ``image`` or ``mask``, for messages.
        max_pixels: larger images are refused before they are loaded.

    Returns:
        The loaded image; ``format`` is kept, orientation is applied.

    Raises:
        PairError: ``unsupported_image``, ``too_many_pixels``, ``animated`` or ``broken_image``.
    """
    with _quiet():
        image = _identify(content, what, max_pixels)
        # MPO is how Pillow calls a JPEG with an extra preview: a photograph all the same.
        name = "JPEG" if image.format == "MPO" else image.format
        if image.width * image.height > max_pixels:
            raise _too_many_pixels(what, max_pixels, f"{image.width}×{image.height} pixels")
        try:
            if name != "JPEG" and getattr(image, "is_animated", False):
                raise PairError(
                    f"the {what} has several frames or pages",
                    hint="Send one frame, saved as PNG.",
                    code="animated",
                )
            if name not in READABLE_FORMATS:
                raise _unsupported(what, f"is a {name} file")
            image.load()
        except _DECODE_ERRORS as error:
            raise _broken(what, error) from error
        image.format = name
        image.info["turned"] = _turn_upright(image)
    return image


def decode_image(content: bytes, max_pixels: int) -> DecodedImage:
    """Decodes the photograph of a pair to 8-bit sRGB.

    16-bit values are scaled, transparency is composited on white, CMYK and embedded colour
    profiles are converted to sRGB.

    Args:
        content: the file's bytes.
        max_pixels: larger images are refused before they are loaded.

    Raises:
        PairError: as ``open_image``.
    """
    image = open_image(content, "image", max_pixels)
    notices: list[Notice] = []
    if image.info["turned"]:
        notices.append(Notice(code="turned_upright", detail="The image was turned as EXIF says."))
    profile = image.info.get("icc_profile")
    if image.mode in {"I", "F"} or image.mode.startswith("I;"):
        image = _eight_bits(image, notices)
    image = _on_white(image, notices)
    is_grey = image.mode in {"1", "L"}
    with _quiet():
        image = _to_srgb(image, profile, notices)
    return DecodedImage(
        image_HWC=np.array(image, dtype=np.uint8), is_grey=is_grey, notices=tuple(notices)
    )


def check_file_name(name: str, content: bytes, what: str) -> None:
    """Refuses a file whose extension names another image format than its content.

    Names without an extension, or with one that names no image format, say nothing and pass.

    Args:
        name: the file name that the client gave; only its extension is looked at.
        content: the file's bytes.
        what: ``image`` or ``mask``, for messages.

    Raises:
        PairError: ``name_mismatch``; ``unsupported_image`` where the content is no image.
    """
    suffix = PurePath(name).suffix.lower()
    claimed = [known for known, suffixes in _EXTENSIONS.items() if suffix in suffixes]
    with _quiet():
        found = _identify(content, what, None).format
    found = "JPEG" if found == "MPO" else found
    if claimed and found not in claimed:
        raise PairError(
            f"the {what} is named {suffix} and is a {found} file",
            hint="Rename it, or check that it is the file you meant to send.",
            code="name_mismatch",
        )


def is_lossy(image: Image.Image, content: bytes) -> bool:
    """Whether a file's compression may have changed its values."""
    if image.format == "WEBP":
        return b"VP8 " in _webp_chunks(content)
    compression = str(image.info.get("compression", ""))
    return image.format == "JPEG" or (image.format == "TIFF" and "jpeg" in compression)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silences Pillow's warnings: sizes are checked here, and damaged metadata doesn't matter."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _identify(content: bytes, what: str, max_pixels: int | None) -> Image.Image:
    try:
        return Image.open(io.BytesIO(content), formats=_OPENED_FORMATS)
    except Image.DecompressionBombError as error:
        raise _too_many_pixels(what, max_pixels, "far too many pixels") from error
    except UnidentifiedImageError as error:
        problem = "is no image" if content else "is empty"
        raise _unsupported(what, problem) from error
    except _DECODE_ERRORS as error:
        raise _broken(what, error) from error


def _turn_upright(image: Image.Image) -> bool:
    """Applies the EXIF orientation in place; damaged EXIF data says nothing."""
    try:
        is_turned = image.getexif().get(_ORIENTATION_TAG, 1) in range(2, 9)
        if is_turned:
            ImageOps.exif_transpose(image, in_place=True)
    except _DECODE_ERRORS:
        return False
    return is_turned


def _webp_chunks(content: bytes) -> set[bytes]:
    """Names of a WebP file's chunks: ``VP8L`` is lossless, ``VP8 `` (with the blank) lossy."""
    names: set[bytes] = set()
    offset = 12
    while offset + 8 <= len(content):
        name, size = struct.unpack_from("<4sI", content, offset)
        names.add(name)
        offset += 8 + size + size % 2
    return names


def _eight_bits(image: Image.Image, notices: list[Notice]) -> Image.Image:
    """Scales one deep channel to 8 bits by the smallest usual bit depth that holds its maximum."""
    values_HW: npt.NDArray[np.float64] = np.asarray(image).astype(np.float64)
    largest = float(values_HW.max())
    if image.mode == "F" or float(values_HW.min()) < 0 or largest >= 2 ** _BIT_DEPTHS[-1]:
        kind = "floating-point" if image.mode == "F" else "32-bit"
        raise _unsupported("image", f"has {kind} values")
    bits = next(bits for bits in _BIT_DEPTHS if largest < 2**bits)
    notices.append(
        Notice(code="scaled_to_8_bit", detail=f"Values of {bits} bits were scaled to 8 bits.")
    )
    return Image.fromarray(np.rint(values_HW * (255.0 / (2**bits - 1))).astype(np.uint8))


def _on_white(image: Image.Image, notices: list[Notice]) -> Image.Image:
    """Composites transparency on white, as a browser shows it; the rest passes unchanged."""
    if image.mode == "P":
        image = image.convert("RGBA" if "transparency" in image.info else "RGB")
    elif "transparency" in image.info and image.mode in {"1", "L", "RGB"}:
        image = image.convert("LA" if image.mode in {"1", "L"} else "RGBA")
    if image.mode in {"La", "RGBa", "PA"}:
        image = image.convert("LA" if image.mode == "La" else "RGBA")
    if image.mode not in {"LA", "RGBA"}:
        return image
    opaque_mode = image.mode[:-1]
    alpha = image.getchannel("A")
    if alpha.getextrema() == (255, 255):
        return image.convert(opaque_mode)
    notices.append(
        Notice(code="alpha_composited", detail="Transparent parts of the image were put on white.")
    )
    white = Image.new(opaque_mode, image.size, "white")
    white.paste(image.convert(opaque_mode), mask=alpha)
    return white


def _to_srgb(image: Image.Image, profile: bytes | None, notices: list[Notice]) -> Image.Image:
    if image.mode == "LAB":
        source = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
        return _through_profile(image, source)
    if profile:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            if "srgb" in ImageCms.getProfileDescription(source).lower():
                return image.convert("RGB")
            converted = _through_profile(image.convert("L") if image.mode == "1" else image, source)
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
            notices.append(
                Notice(code="profile_ignored", detail="The colour profile can't be used.")
            )
        else:
            notices.append(
                Notice(code="converted_to_srgb", detail="The colour profile was converted to sRGB.")
            )
            return converted
    return image.convert("RGB")


def _through_profile(image: Image.Image, source: ImageCms.ImageCmsProfile) -> Image.Image:
    target = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
    converted = ImageCms.profileToProfile(image, source, target, outputMode="RGB")
    if converted is None:
        raise ValueError("the colour profile gave no image")
    return converted


def _too_many_pixels(what: str, max_pixels: int | None, found: str) -> PairError:
    limit = f"; at most {max_pixels / 1e6:g} megapixels are read" if max_pixels else ""
    return PairError(
        f"the {what} has {found}{limit}",
        hint="Scale the image down, and the mask with nearest neighbour.",
        code="too_many_pixels",
    )


def _unsupported(what: str, problem: str) -> PairError:
    formats = "PNG, TIFF or lossless WebP" if what == "mask" else "PNG, JPEG, WebP or TIFF"
    return PairError(
        f"the {what} {problem}",
        hint=f"Send {formats}, with 8 or 16 bits a channel.",
        code="unsupported_image",
    )


def _broken(what: str, error: BaseException) -> PairError:
    return PairError(
        f"the {what} can't be decoded: {str(error) or type(error).__name__}",
        hint="The file is damaged or was cut short: save or upload it again.",
        code="broken_image",
    )
