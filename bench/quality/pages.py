"""All pairs of a set on numbered pages, for somebody who counts what is to be thrown away.

python -m bench.quality.pages SET.zip IMAGE MASK FOLDER
"""

from __future__ import annotations

import argparse
from pathlib import Path

from bench.quality.setup import U8
from bench.quality.sheets import read_set
from osmis_core.data.pair import Pair
from osmis_core.data.reader import read_pair
from osmis_core.export.contact_sheet import SheetText, SheetTile, contact_sheet

PAGE = 23
"""Samples on a page; with the source four rows of six."""


def main() -> None:
    """Writes the pages and says where."""
    parser = argparse.ArgumentParser(prog="python -m bench.quality.pages", description=__doc__)
    for name, meaning in (
        ("set", "zip or folder with images/ and masks/"),
        ("image", "the source's"),
        ("mask", "the source's"),
        ("folder", "takes page-1.jpg, page-2.jpg, …"),
    ):
        parser.add_argument(name, type=Path, help=meaning)
    chosen = parser.parse_args()
    pair = read_pair(chosen.image, chosen.mask)
    for path in write_pages(read_set(chosen.set), pair, chosen.folder):
        print(path)


def write_pages(samples: list[tuple[U8, U8]], pair: Pair, folder: Path) -> list[Path]:
    """One JPEG a page, samples numbered from 0 in the set's order."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for first in range(0, len(samples), PAGE):
        shown = samples[first : first + PAGE]
        tiles = [SheetTile(*sample, str(first + i)) for i, sample in enumerate(shown)]
        text = SheetText(
            title=f"{first} to {first + len(shown) - 1} of {len(samples)}",
            class_names=pair.class_names,
        )
        sheet = contact_sheet(tiles, SheetTile(pair.image_HWC, pair.mask_HW, "source"), text)
        paths.append(folder / f"page-{len(paths) + 1}.jpg")
        sheet.convert("RGB").save(paths[-1], quality=85, optimize=True)
    return paths


if __name__ == "__main__":
    main()
