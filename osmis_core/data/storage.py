"""Normalised storage: a pair as three small files that need no detection to read again."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
from PIL import Image

from osmis_core.data.pair import Notice, Pair

IMAGE_FILE = "image.png"
MASK_FILE = "mask.png"
PAIR_FILE = "pair.json"
_COMPRESS_LEVEL = 4


def save_normalised(pair: Pair, folder: Path) -> None:
    """Writes ``image.png`` (RGB, or L where grey), ``mask.png`` (L, indices) and ``pair.json``.

    Args:
        pair: what to write.
        folder: created if missing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    image_to_file(pair).save(folder / IMAGE_FILE, compress_level=_COMPRESS_LEVEL)
    Image.fromarray(pair.mask_HW).save(folder / MASK_FILE, compress_level=_COMPRESS_LEVEL)
    described = {
        "class_names": list(pair.class_names),
        "is_grey": pair.is_grey,
        "encoding": pair.encoding,
        "encoding_declared": pair.encoding_declared,
        "has_mask": pair.has_mask,
        "notices": [asdict(notice) for notice in pair.notices],
    }
    text = json.dumps(described, ensure_ascii=False, indent=2, sort_keys=True) + "\n"
    (folder / PAIR_FILE).write_text(text, encoding="utf-8")


def load_normalised(folder: Path) -> Pair:
    """Reads back what ``save_normalised`` wrote.

    Raises:
        OSError: a file is missing or damaged.
    """
    described = json.loads((folder / PAIR_FILE).read_text(encoding="utf-8"))
    with Image.open(folder / IMAGE_FILE, formats=("PNG",)) as image:
        image_HWC = np.array(image.convert("RGB"), dtype=np.uint8)
    with Image.open(folder / MASK_FILE, formats=("PNG",)) as mask:
        mask_HW = np.array(mask, dtype=np.uint8)
    return Pair(
        image_HWC=image_HWC,
        mask_HW=mask_HW,
        class_names=tuple(described["class_names"]),
        is_grey=described["is_grey"],
        encoding=described["encoding"],
        encoding_declared=described["encoding_declared"],
        notices=tuple(Notice(**notice) for notice in described["notices"]),
        has_mask=described.get("has_mask", True),
    )


def image_to_file(pair: Pair) -> Image.Image:
    """The pair's image in the mode that it is delivered in: L for grey sources, else RGB."""
    return Image.fromarray(pair.image_HWC[..., 0] if pair.is_grey else pair.image_HWC)
