"""Valid image files, and what becomes of them when bytes go wrong."""

from __future__ import annotations

import io
import random
import struct
import zlib

import numpy as np
from PIL import Image

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_EXTREMES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF)


def seed_files() -> dict[str, bytes]:
    """Valid files of all formats that are read, small; by a name with its extension."""
    rng = np.random.default_rng(0)
    rgb = Image.fromarray(rng.integers(0, 255, (48, 64, 3), dtype=np.uint8))
    labels = np.zeros((48, 64), np.uint8)
    labels[8:24, 8:40], labels[30:44, 20:60] = 1, 2
    mask = Image.fromarray(labels)
    palette = mask.copy()
    palette.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0] + [0] * 759)
    deep = Image.fromarray(rng.integers(0, 65535, (48, 64), dtype=np.uint16))
    exif = rgb.getexif()
    exif[0x0112] = 6
    frames = {"save_all": True, "append_images": [rgb.rotate(90)]}
    return {
        "rgb.png": _save(rgb, "PNG"),
        "alpha.png": _save(rgb.convert("RGBA"), "PNG"),
        "palette.png": _save(palette, "PNG", transparency=1),
        "deep.png": _save(deep, "PNG"),
        "mask.png": _save(mask, "PNG"),
        "plain.jpg": _save(rgb, "JPEG"),
        "progressive.jpg": _save(rgb, "JPEG", progressive=True, exif=exif),
        "cmyk.jpg": _save(rgb.convert("CMYK"), "JPEG"),
        "lzw.tiff": _save(rgb, "TIFF", compression="tiff_lzw"),
        "deflate.tiff": _save(mask, "TIFF", compression="tiff_deflate"),
        "pages.tiff": _save(rgb, "TIFF", **frames),
        "deep.tiff": _save(deep, "TIFF"),
        "lossy.webp": _save(rgb, "WEBP"),
        "lossless.webp": _save(mask.convert("RGB"), "WEBP", lossless=True),
        "animated.webp": _save(rgb, "WEBP", **frames),
    }


def _save(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def mutated(content: bytes, others: list[bytes], choose: random.Random) -> bytes:
    """The file with one to eight things wrong in it."""
    found = bytearray(content)
    for _ in range(choose.choice((1, 1, 2, 3, 8))):
        mutation = choose.choice((_flip, _flip, _extreme, _extreme, _cut_out, _repeat, _splice))
        mutation(found, others, choose)
    if choose.random() < 0.05:
        del found[choose.randrange(len(found) + 1) :]
    # wrong checksums stop a PNG reader early; what lies behind them wants to be read, too
    is_png = found.startswith(_PNG_SIGNATURE)
    return _with_right_checksums(bytes(found)) if is_png and choose.random() < 0.7 else bytes(found)


def _place(found: bytearray, choose: random.Random) -> int:
    """Anywhere; every second time among the first bytes, where the headers are."""
    end = len(found) if choose.random() < 0.5 else min(len(found), 160)
    return choose.randrange(max(1, end))


def _flip(found: bytearray, _others: list[bytes], choose: random.Random) -> None:
    if found:
        found[_place(found, choose)] ^= 1 << choose.randrange(8)


def _extreme(found: bytearray, _others: list[bytes], choose: random.Random) -> None:
    place, value = _place(found, choose), choose.choice(_EXTREMES)
    width = choose.choice((1, 2, 4))
    order = choose.choice(("little", "big"))
    limited = value & (256**width - 1)
    found[place : place + width] = limited.to_bytes(width, "little" if order == "little" else "big")


def _cut_out(found: bytearray, _others: list[bytes], choose: random.Random) -> None:
    place = _place(found, choose)
    del found[place : place + choose.choice((1, 4, 64))]


def _repeat(found: bytearray, _others: list[bytes], choose: random.Random) -> None:
    place = _place(found, choose)
    found[place:place] = found[place : place + choose.choice((1, 12, 200))]


def _splice(found: bytearray, others: list[bytes], choose: random.Random) -> None:
    other = choose.choice(others)
    place, start = _place(found, choose), choose.randrange(len(other))
    found[place : place + 40] = other[start : start + 40]


def _with_right_checksums(content: bytes) -> bytes:
    """A PNG whose chunks' checksums fit again, as far as its chunks can be followed."""
    fixed, at = bytearray(content[:8]), 8
    while at + 12 <= len(content):
        (length,) = struct.unpack(">I", content[at : at + 4])
        body = content[at + 4 : at + 8 + length]
        if len(body) < 4 + length:
            break
        fixed += content[at : at + 4] + body + struct.pack(">I", zlib.crc32(body))
        at += 12 + length
    return bytes(fixed + content[at:])
