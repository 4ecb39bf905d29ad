"""The zip of a sample set: the same items give the same bytes, in flat memory."""

from __future__ import annotations

import hashlib
import io
import json
import tempfile
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
from PIL import Image

from osmis_core.data.pair import U8, Pair
from osmis_core.data.storage import image_to_file
from osmis_core.export.contact_sheet import SheetText, SheetTile, contact_sheet
from osmis_core.export.readme import archive_readme

_TIMESTAMP = (1980, 1, 1, 0, 0, 0)
_UNIX = 3
_FILE_MODE = 0o100644
_DEFLATE_LEVEL = 6
_PNG_LEVEL = 4
_SHEET_KEPT = 23
_SHEET_REJECTED = 6
_SHEET_PICTURE_PX = 560
_SPOOL_BYTES = 4_000_000


@dataclass(frozen=True, kw_only=True, eq=False)
class ExportItem:
    """One generated pair, curated.

    Attributes:
        index: position in the set before rejection.
        seed: what it was generated from.
        candidate: which of the pairs drawn for this index it is, from 0.
        strangeness: of its objects' shapes, up to 1 plausible; None where that wasn't asked.
        image_HWC: uint8 RGB.
        mask_HW: uint8 class indices; not written where the source has no mask.
        kept: whether it is part of the set.
        score: mean distance relative to the set's; lower is better.
        distances: distance to the source by layer.
        ranks: rank in the set by layer.
        reason: why it was kept or rejected.
        verbatim_share: share of the image copied from the source in one piece, in [0, 1].
    """

    index: int
    seed: int
    candidate: int
    strangeness: float | None
    image_HWC: U8
    mask_HW: U8
    kept: bool
    score: float
    distances: dict[str, float]
    ranks: dict[str, float]
    reason: str
    verbatim_share: float | None


@dataclass(frozen=True, kw_only=True)
class ArchiveSummary:
    """What was written.

    Attributes:
        size_bytes: of the zip.
        sha256: of the zip, hexadecimal.
        kept: pairs in it.
        rejected: pairs left out.
        preview_jpeg: the contact sheet, as in the zip.
    """

    size_bytes: int
    sha256: str
    kept: int
    rejected: int
    preview_jpeg: bytes = field(repr=False)


def write_archive(
    path: Path,
    items: Iterable[ExportItem],
    *,
    pair: Pair,
    manifest: dict[str, Any],
    title: str | None = None,
    include_rejected: bool = False,
) -> ArchiveSummary:
    """Writes the zip.

    Args:
        path: replaced when the zip is complete, untouched before.
        items: curated pairs in index order; consumed one at a time.
        pair: the source.
        manifest: how the set was made, JSON values; counts are added.
        title: of the contact sheet.
        include_rejected: adds the rejected pairs' files under ``rejected/``.

    Returns:
        Size, hash, counts and the contact sheet.

    Raises:
        ValueError: a distance or score is not finite, or the manifest is no JSON.
        OSError: the disk is full or the folder missing.
    """
    part = path.with_name(path.name + ".part")
    try:
        with (
            zipfile.ZipFile(part, "w") as archive,
            tempfile.SpooledTemporaryFile(_SPOOL_BYTES) as kept_lines,
            tempfile.SpooledTemporaryFile(_SPOOL_BYTES) as rejected_lines,
        ):
            writer = _Writer(archive, pair, include_rejected, (kept_lines, rejected_lines))
            for item in items:
                writer.add(item)
            preview_jpeg = writer.finish(manifest, title)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    with path.open("rb") as written:
        sha256 = hashlib.file_digest(written, "sha256").hexdigest()
    return ArchiveSummary(
        size_bytes=path.stat().st_size,
        sha256=sha256,
        kept=writer.kept,
        rejected=writer.rejected,
        preview_jpeg=preview_jpeg,
    )


class _Writer:
    """Adds entries in a fixed order with fixed metadata; keeps thumbnails for the sheet only."""

    def __init__(
        self,
        archive: zipfile.ZipFile,
        pair: Pair,
        include_rejected: bool,
        lines: tuple[IO[bytes], IO[bytes]],
    ) -> None:
        self.kept = 0
        self.rejected = 0
        self._archive = archive
        self._pair = pair
        self._include_rejected = include_rejected
        self._kept_lines, self._rejected_lines = lines
        self._kept_tiles: list[SheetTile] = []
        self._rejected_tiles: list[SheetTile] = []

    def add(self, item: ExportItem) -> None:
        """Writes a pair's files and its line."""
        if item.kept:
            line = {**self._add_files("", self.kept, item), **_described(item)}
            if self._pair.has_mask:
                line["class_areas"] = _class_areas(item.mask_HW, self._pair.class_names)
            self._kept_lines.write(_json_line(line))
            if len(self._kept_tiles) < _SHEET_KEPT:
                caption = f"{self.kept:06d}   score {item.score:.2f}"
                self._kept_tiles.append(self._thumbnail(item.image_HWC, item.mask_HW, caption))
            self.kept += 1
            return
        names = self._add_files("rejected/", self.rejected, item) if self._include_rejected else {}
        self._rejected_lines.write(_json_line({**names, **_described(item)}))
        if len(self._rejected_tiles) < _SHEET_REJECTED:
            caption = f"#{item.index}: {item.reason}"
            self._rejected_tiles.append(self._thumbnail(item.image_HWC, item.mask_HW, caption))
        self.rejected += 1

    def finish(self, manifest: dict[str, Any], title: str | None) -> bytes:
        """Writes everything that needs the whole set; returns the contact sheet as JPEG."""
        counts = {"generated": self.kept + self.rejected, "kept": self.kept}
        described = {**manifest, **counts, "rejected": self.rejected}
        sheet_bytes = _jpeg(self._sheet(title))
        self._store("original/image.png", _png(np.asarray(image_to_file(self._pair))))
        if self._pair.has_mask:
            self._store("original/mask.png", _png(self._pair.mask_HW))
        self._store("preview.jpg", sheet_bytes)
        for name, lines in (
            ("metadata.jsonl", self._kept_lines),
            ("rejected.jsonl", self._rejected_lines),
        ):
            self._copy(name, lines)
        text = json.dumps(described, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
        self._deflate("manifest.json", (text + "\n").encode())
        readme = archive_readme(self._pair, described)
        self._deflate("README.md", readme.encode())
        return sheet_bytes

    def _add_files(self, folder: str, number: int, item: ExportItem) -> dict[str, str]:
        image = item.image_HWC[..., 0] if self._pair.is_grey else item.image_HWC
        names = {"file_name": f"{folder}images/{number:06d}.png"}
        self._store(names["file_name"], _png(image))
        if self._pair.has_mask:
            names["mask_file_name"] = f"{folder}masks/{number:06d}.png"
            self._store(names["mask_file_name"], _png(item.mask_HW))
        return names

    def _sheet(self, title: str | None) -> Image.Image:
        pair = self._pair
        made_of = "pairs from one annotated image" if pair.has_mask else "images from one"
        text = SheetText(
            title=title or f"{self.kept} new {made_of}",
            subtitle=f"{self.kept + self.rejected} generated, {self.rejected} rejected as least "
            f"like the source; score is the distance to it, 1 on average, lower is better",
            class_names=pair.class_names,
        )
        source = self._thumbnail(
            pair.image_HWC, pair.mask_HW, f"source, {pair.width} x {pair.height} pixels"
        )
        return contact_sheet(self._kept_tiles, source, text, rejected=self._rejected_tiles)

    def _thumbnail(self, image_HWC: U8, mask_HW: U8, caption: str) -> SheetTile:
        """Small copies: the sheet must not hold full-size pairs."""
        height, width = mask_HW.shape
        scale = min(1.0, _SHEET_PICTURE_PX / max(height, width))
        size = max(1, round(width * scale)), max(1, round(height * scale))
        image = Image.fromarray(image_HWC).resize(size, Image.Resampling.LANCZOS)
        if not self._pair.has_mask:
            return SheetTile(np.asarray(image), None, caption)
        mask = Image.fromarray(mask_HW).resize(size, Image.Resampling.NEAREST)
        return SheetTile(np.asarray(image), np.asarray(mask), caption)

    def _store(self, name: str, content: bytes) -> None:
        """For files that are compressed already."""
        self._archive.writestr(_entry(name, zipfile.ZIP_STORED), content)

    def _deflate(self, name: str, content: bytes) -> None:
        entry = _entry(name, zipfile.ZIP_DEFLATED)
        self._archive.writestr(entry, content, compresslevel=_DEFLATE_LEVEL)

    def _copy(self, name: str, lines: IO[bytes]) -> None:
        lines.seek(0)
        with self._archive.open(_entry(name, zipfile.ZIP_DEFLATED), "w", force_zip64=True) as entry:
            while chunk := lines.read(1 << 20):
                entry.write(chunk)


def _entry(name: str, compression: int) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, date_time=_TIMESTAMP)
    entry.compress_type = compression
    entry.create_system = _UNIX
    entry.external_attr = _FILE_MODE << 16
    return entry


def _described(item: ExportItem) -> dict[str, Any]:
    return {
        "index": item.index,
        "seed": item.seed,
        "candidate": item.candidate,
        "strangeness": _rounded_or_none(item.strangeness),
        "score": _rounded(item.score),
        "distances": {layer: _rounded(value) for layer, value in item.distances.items()},
        "ranks": {layer: _rounded(value) for layer, value in item.ranks.items()},
        "reason": item.reason,
        "verbatim_share": _rounded_or_none(item.verbatim_share),
    }


def _rounded(value: float) -> float:
    """Six significant digits: what is left after them differs between machines."""
    return float(f"{value:.6g}")


def _rounded_or_none(value: float | None) -> float | None:
    return None if value is None else _rounded(value)


def _class_areas(mask_HW: U8, class_names: Sequence[str]) -> dict[str, float]:
    counts = np.bincount(mask_HW.ravel(), minlength=256)[: len(class_names)]
    labelled = max(1, int(counts.sum()))
    return {
        name: _rounded(int(count) / labelled)
        for name, count in zip(class_names, counts, strict=True)
    }


def _json_line(values: dict[str, Any]) -> bytes:
    return (json.dumps(values, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _png(values: U8) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "PNG", compress_level=_PNG_LEVEL)
    return buffer.getvalue()


def _jpeg(sheet: Image.Image) -> bytes:
    buffer = io.BytesIO()
    sheet.save(buffer, "JPEG", quality=90, subsampling=0)
    return buffer.getvalue()
