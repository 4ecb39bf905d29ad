"""Contact sheets: what the figures are about."""

from __future__ import annotations

import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from bench.quality.keys import Snapshot
from bench.quality.setup import U8, Effort, load_pair
from osmis_core.export.contact_sheet import SheetText, SheetTile, contact_sheet

SHOWN = 11


def sheet_path(name: str, effort: Effort) -> Path:
    """Where the sheet of a snapshot of this name lies."""
    return effort.folder / "sheets" / f"{name}.jpg"


def sheet_links(pattern: str, effort: Effort) -> list[str]:
    """Sheets of snapshots whose names fit, as pictures in Markdown beside their folder."""
    paths = sorted((effort.folder / "sheets").glob(f"{pattern}.jpg"))
    return [f"![{path.stem}]({path.relative_to(effort.folder)})\n" for path in paths]


def draw_sheet(snapshot: Snapshot, place: Path, effort: Effort) -> None:
    """Source and first samples of a set, masks overlaid."""
    run, pair = snapshot.run, load_pair(snapshot.run.pair)
    samples = read_set(place, SHOWN)
    tiles = [SheetTile(image, mask, f"{i}") for i, (image, mask) in enumerate(samples)]
    minutes = f", {snapshot.minutes:g} of {run.planned:g} minutes" if run.minutes else ""
    text = SheetText(
        title=f"{run.pair}: {run.label}{minutes}",
        subtitle=f"seed {run.seed}, the first {len(samples)} of the set",
        class_names=pair.class_names,
    )
    path = sheet_path(snapshot.name, effort)
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet = contact_sheet(tiles, SheetTile(pair.image_HWC, pair.mask_HW, "source"), text)
    sheet.convert("RGB").save(path, quality=80, optimize=True)


def read_set(place: Path, limit: int | None = None) -> list[tuple[U8, U8]]:
    """Images and masks of a folder or a zip with images/ and masks/, in order of their names."""
    if place.is_dir():
        images = sorted((place / "images").glob("*.png"))[:limit]
        return [(_array(path, "RGB"), _array(place / "masks" / path.name)) for path in images]
    with zipfile.ZipFile(place) as archive:
        names = [n for n in archive.namelist() if n.startswith("images/") and n.endswith(".png")]
        return [
            (
                _array(BytesIO(archive.read(name)), "RGB"),
                _array(BytesIO(archive.read(name.replace("images/", "masks/", 1)))),
            )
            for name in sorted(names)[:limit]
        ]


def _array(file: Path | BytesIO, mode: str | None = None) -> U8:
    with Image.open(file) as opened:
        return np.asarray(opened.convert(mode) if mode else opened)
