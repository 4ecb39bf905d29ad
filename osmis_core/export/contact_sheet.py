"""The contact sheet: source, samples and rejected samples on one page, masks overlaid."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

from osmis_core.data.pair import U8
from osmis_core.export.overlay import Colour, class_colour, draw_overlay

SHEET_WIDTH_PX = 1500

_PAPER: Colour = (250, 250, 248)
_INK: Colour = (24, 26, 30)
_FAINT: Colour = (105, 110, 118)
_SOURCE: Colour = (24, 26, 30)
_REJECTED: Colour = (200, 45, 45)
_MARGIN_PX = 36
_GAP_PX = 18
_FRAME_PX = 3
_PICTURE_GAP_PX = 4
_TITLE_PX, _SUBTITLE_PX, _CAPTION_PX = 34, 19, 16
_MAX_COLUMNS = 6
_FEW_TILES = 12
_CAPTION_LINES = 2
_REPLACED_SIGNS = str.maketrans("×–—·", "x--|")
# A portrait's overlay stands beside it, a landscape's below: tiles stay near square.
_SIDE_BY_SIDE_ASPECT = 1.15


class SheetTile(NamedTuple):
    """One pair on the sheet.

    Attributes:
        image_HWC: uint8 RGB.
        mask_HW: uint8 indices of the same size; None draws the image alone.
        caption: at most two short lines; longer ones are cut.
    """

    image_HWC: U8
    mask_HW: U8 | None
    caption: str


@dataclass(frozen=True, kw_only=True)
class SheetText:
    """What is written above the tiles.

    Attributes:
        title: large.
        subtitle: one line of numbers.
        class_names: the legend, in index order; the background is left out.
    """

    title: str
    subtitle: str = ""
    class_names: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class _Layout:
    columns: int
    picture_w: int
    picture_h: int
    is_side_by_side: bool
    has_overlay: bool

    @property
    def tile_w(self) -> int:
        is_double = self.has_overlay and self.is_side_by_side
        return 2 * self.picture_w + _PICTURE_GAP_PX if is_double else self.picture_w

    @property
    def pictures_h(self) -> int:
        is_double = self.has_overlay and not self.is_side_by_side
        return 2 * self.picture_h + _PICTURE_GAP_PX if is_double else self.picture_h

    @property
    def row_h(self) -> int:
        return self.pictures_h + _CAPTION_LINES * (_CAPTION_PX + 4) + _GAP_PX

    def rows(self, count: int) -> int:
        return -(-count // self.columns)


def contact_sheet(
    tiles: Sequence[tuple[U8, U8 | None, str]],
    source: tuple[U8, U8 | None, str],
    text: SheetText,
    *,
    rejected: Sequence[tuple[U8, U8 | None, str]] = (),
    width_px: int = SHEET_WIDTH_PX,
) -> Image.Image:
    """Draws a contact sheet.

    Args:
        tiles: image_HWC, mask_HW and caption of each sample (``SheetTile``).
        source: the source pair, drawn first and framed; without a mask no overlays are drawn.
        text: title, subtitle and legend.
        rejected: samples for a section of their own, crossed by a red frame.
        width_px: of the sheet; its height follows.

    Returns:
        RGB image, ``width_px`` wide.
    """
    layout = _layout(1 + len(tiles), source, width_px)
    header_h = _MARGIN_PX + _TITLE_PX + 2 * _SUBTITLE_PX + 44
    rejected_h = 0
    if rejected:
        rejected_h = 2 * _SUBTITLE_PX + _GAP_PX + layout.rows(len(rejected)) * layout.row_h
    tiles_h = layout.rows(1 + len(tiles)) * layout.row_h
    sheet = Image.new("RGB", (width_px, header_h + tiles_h + rejected_h + _MARGIN_PX // 2), _PAPER)
    _draw_header(sheet, text)
    _draw_tile(sheet, source, (_MARGIN_PX, header_h), layout, _SOURCE)
    for place, tile in enumerate(tiles, start=1):
        _draw_tile(sheet, tile, _origin(place, header_h, layout), layout, None)
    if rejected:
        top = header_h + tiles_h + _GAP_PX // 2
        draw = ImageDraw.Draw(sheet)
        draw.line([(_MARGIN_PX, top), (width_px - _MARGIN_PX, top)], fill=(222, 222, 218), width=2)
        _write(draw, (_MARGIN_PX, top + 12), "Rejected", _SUBTITLE_PX + 3, _REJECTED)
        for place, tile in enumerate(rejected):
            origin = _origin(place, header_h + tiles_h + rejected_h, layout)
            row_top = origin[1] - layout.rows(len(rejected)) * layout.row_h
            _draw_tile(sheet, tile, (origin[0], row_top), layout, _REJECTED)
    return sheet


def _layout(count: int, source: tuple[U8, U8 | None, str], width_px: int) -> _Layout:
    height, width = source[0].shape[:2]
    has_overlay = source[1] is not None
    is_side_by_side = height > _SIDE_BY_SIDE_ASPECT * width
    columns = _MAX_COLUMNS if count > _FEW_TILES else 5 if width < 1.7 * height else 4
    columns = max(3, min(columns, count))
    inner_px = width_px - 2 * _MARGIN_PX - (columns - 1) * _GAP_PX
    picture_w = inner_px // columns
    if has_overlay and is_side_by_side:
        picture_w = (picture_w - _PICTURE_GAP_PX) // 2
    return _Layout(
        columns=columns,
        picture_w=picture_w,
        picture_h=max(1, round(picture_w * height / width)),
        is_side_by_side=is_side_by_side,
        has_overlay=has_overlay,
    )


def _origin(place: int, top: int, layout: _Layout) -> tuple[int, int]:
    row, column = divmod(place, layout.columns)
    return _MARGIN_PX + column * (layout.tile_w + _GAP_PX), top + row * layout.row_h


def _draw_tile(
    sheet: Image.Image,
    tile: tuple[U8, U8 | None, str],
    origin: tuple[int, int],
    layout: _Layout,
    frame: Colour | None,
) -> None:
    image_HWC, mask_HW, caption = tile
    left, top = origin
    size = (layout.picture_w, layout.picture_h)
    draw = ImageDraw.Draw(sheet)
    if frame is not None:
        box = (
            left - _FRAME_PX,
            top - _FRAME_PX,
            left + layout.tile_w + _FRAME_PX - 1,
            top + layout.pictures_h + _FRAME_PX - 1,
        )
        draw.rectangle(box, fill=frame)
    picture = Image.fromarray(image_HWC).resize(size, Image.Resampling.LANCZOS)
    sheet.paste(picture, (left, top))
    beside = (
        (left + layout.picture_w + _PICTURE_GAP_PX, top)
        if layout.is_side_by_side
        else (left, top + layout.picture_h + _PICTURE_GAP_PX)
    )
    if layout.has_overlay and mask_HW is not None:
        sheet.paste(draw_overlay(image_HWC, mask_HW, *size), beside)
    text_top = top + layout.pictures_h + 7
    for line, words in enumerate(_wrap(caption, layout.tile_w, _CAPTION_PX)):
        ink = frame or _FAINT
        _write(draw, (left, text_top + line * (_CAPTION_PX + 3)), words, _CAPTION_PX, ink)


def _draw_header(sheet: Image.Image, text: SheetText) -> None:
    draw = ImageDraw.Draw(sheet)
    top = _MARGIN_PX - 8
    _write(draw, (_MARGIN_PX, top), text.title, _TITLE_PX, _INK)
    top += _TITLE_PX + 12
    _write(draw, (_MARGIN_PX, top), text.subtitle, _SUBTITLE_PX, _FAINT)
    top += _SUBTITLE_PX + 12
    left = _MARGIN_PX
    for index, name in enumerate(text.class_names):
        if index == 0:
            continue
        label = _printable(name)
        needed = 24 + round(_font(_SUBTITLE_PX).getlength(label)) + 26
        if left + needed > sheet.width - _MARGIN_PX:
            _write(draw, (left, top), "...", _SUBTITLE_PX, _FAINT)
            return
        swatch = (left, top + 4, left + 15, top + 19)
        draw.rounded_rectangle(swatch, radius=3, fill=class_colour(index))
        _write(draw, (left + 23, top), label, _SUBTITLE_PX, _INK)
        left += needed


def _font(size_px: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=size_px)


def _write(
    draw: ImageDraw.ImageDraw, origin: tuple[int, int], words: str, size_px: int, ink: Colour
) -> None:
    draw.text(origin, _printable(words), font=_font(size_px), fill=ink)


def _printable(words: str) -> str:
    """What Pillow's own font can show: accents are dropped, other scripts become question marks."""
    plain = unicodedata.normalize("NFKD", words.translate(_REPLACED_SIGNS))
    plain = "".join(sign for sign in plain if not unicodedata.combining(sign))
    return plain.encode("ascii", "replace").decode("ascii")


def _wrap(words: str, width_px: int, size_px: int) -> list[str]:
    """Breaks a caption into lines that fit; what doesn't fit the last line is cut."""
    font = _font(size_px)
    lines: list[str] = []
    for word in _printable(words).split():
        joined = f"{lines[-1]} {word}" if lines else word
        if lines and font.getlength(joined) <= width_px:
            lines[-1] = joined
        else:
            lines.append(word)
    if len(lines) > _CAPTION_LINES:
        lines[_CAPTION_LINES - 1] += " ..."
    return [_cut(line, width_px, font) for line in lines[:_CAPTION_LINES]]


def _cut(line: str, width_px: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """Shortens a line until it fits."""
    ending = " ..." if line.endswith(" ...") else ""
    words = line.removesuffix(ending)
    while len(words) > 1 and font.getlength(words + ending) > width_px:
        words = words[:-1]
    return words + ending
