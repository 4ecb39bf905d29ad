"""The contact sheet: everything is on it, in colour, and odd input doesn't break it."""

from __future__ import annotations

import numpy as np
import pytest

from osmis_core.data.pair import IGNORE
from osmis_core.export.contact_sheet import SheetText, contact_sheet
from osmis_core.export.overlay import class_colour, draw_overlay


def make_tile(height: int = 60, width: int = 90, caption: str = "sample"):
    image_HWC = np.full((height, width, 3), 120, dtype=np.uint8)
    mask_HW = np.zeros((height, width), dtype=np.uint8)
    mask_HW[10:40, 20:60] = 1
    return image_HWC, mask_HW, caption


def has_colour(pixels_HWC, colour) -> bool:
    return bool((np.abs(pixels_HWC.astype(int) - colour).max(axis=-1) <= 6).any())


def test_overlay_fills_outlines_and_leaves_the_background():
    image_HWC, mask_HW, _ = make_tile()
    drawn_HWC = np.asarray(draw_overlay(image_HWC, mask_HW, 180, 120))
    assert drawn_HWC.shape == (120, 180, 3)
    np.testing.assert_array_equal(drawn_HWC[5, 5], (120, 120, 120))
    inside = drawn_HWC[50, 80].astype(int)
    colour = np.array(class_colour(1))
    assert (np.abs(inside - colour) < np.abs(120 - colour)).all(), "tinted towards the class"
    assert np.abs(inside - colour).max() > 30, "translucent"
    assert has_colour(drawn_HWC[15:30, 35:60], colour), "the contour is opaque"


def test_ignored_pixels_are_grey_without_contour():
    image_HWC, mask_HW, _ = make_tile()
    image_HWC[:] = 0
    mask_HW[mask_HW == 1] = IGNORE
    drawn_HWC = np.asarray(draw_overlay(image_HWC, mask_HW, 90, 60))
    np.testing.assert_allclose(drawn_HWC[25, 40], 128 * 0.42, atol=1)
    assert drawn_HWC.max() < 80


def test_overlay_keeps_objects_where_they_are_when_scaled():
    image_HWC, mask_HW, _ = make_tile()
    for width, height in ((90, 60), (37, 25), (400, 267)):
        drawn_HWC = np.asarray(draw_overlay(image_HWC, mask_HW, width, height)).astype(int)
        tinted_HW = np.abs(drawn_HWC - 120).max(axis=-1) > 20
        assert tinted_HW.mean() == pytest.approx((mask_HW == 1).mean(), abs=0.03)


def test_32_classes_have_different_colours():
    colours = [np.array(class_colour(index)) for index in range(32)]
    distances = [np.abs(a - b).max() for i, a in enumerate(colours) for b in colours[:i]]
    assert min(distances) > 8
    assert class_colour(0) == (0, 0, 0)


def test_sheet_has_source_samples_rejected_and_legend():
    tiles = [make_tile(caption=f"#{index}") for index in range(17)]
    text = SheetText(title="17 pairs", subtitle="numbers", class_names=("background", "cup"))
    plain = contact_sheet(tiles, make_tile(caption="source"), text)
    sheet = contact_sheet(tiles, make_tile(caption="source"), text, rejected=tiles[:3])
    assert sheet.width == 1500
    assert sheet.height > plain.height
    sheet_HWC = np.asarray(sheet)
    np.testing.assert_array_equal(sheet_HWC[: plain.height - 30], np.asarray(plain)[:-30])
    red = (200, 45, 45)
    assert has_colour(sheet_HWC[plain.height - 20 :], red)
    assert not has_colour(np.asarray(plain), red)
    assert has_colour(sheet_HWC[90:130], class_colour(1)), "the legend"


def test_every_sample_is_drawn():
    text = SheetText(title="t")
    marked = [make_tile() for _ in range(13)]
    for index, (image_HWC, _, _) in enumerate(marked):
        image_HWC[:] = (10 + 15 * index, 255 - 15 * index, 5)
    sheet_HWC = np.asarray(contact_sheet(marked, make_tile(), text))
    for index in range(13):
        assert has_colour(sheet_HWC, (10 + 15 * index, 255 - 15 * index, 5))


@pytest.mark.parametrize("size", [(32, 128), (128, 32), (64, 64), (303, 384), (854, 480)])
@pytest.mark.parametrize("count", [0, 1, 5, 30])
def test_any_aspect_and_count_fits(size, count):
    tiles = [make_tile(*size) for _ in range(count)]
    sheet = contact_sheet(tiles, make_tile(*size), SheetText(title="t"), rejected=tiles[:1])
    assert sheet.width == 1500
    assert 150 < sheet.height < 8000


def test_long_and_foreign_words_are_cut_and_replaced():
    caption = "worst in every layer, " * 20 + "Überraschung 硬币 " + "x" * 300
    names = tuple(f"a rather long class name {index}" for index in range(32))
    text = SheetText(title="é 硬币 — ×", subtitle="", class_names=names)
    sheet = contact_sheet([make_tile(caption=caption)], make_tile(caption=""), text)
    # Captions end at their tile: the page's right margin stays empty.
    assert (np.asarray(sheet)[:, -20:] == np.asarray(sheet)[0, 0]).all()


def test_drawing_is_deterministic():
    arguments = ([make_tile()] * 3, make_tile(), SheetText(title="t", class_names=("a", "b")))
    first, second = (np.asarray(contact_sheet(*arguments)) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_without_masks_a_sheet_has_the_images_alone():
    image_HWC, mask_HW, caption = make_tile()
    alone = (image_HWC, None, caption)
    text = SheetText(title="Images", class_names=("everything",))
    plain = contact_sheet([alone] * 3, alone, text, rejected=[alone])
    both = contact_sheet(
        [(image_HWC, mask_HW, caption)] * 3,
        (image_HWC, mask_HW, caption),
        text,
        rejected=[(image_HWC, mask_HW, caption)],
    )
    assert plain.width == both.width
    assert plain.height < 0.75 * both.height
    colour = class_colour(1)
    assert has_colour(np.asarray(both), colour)
    assert not has_colour(np.asarray(plain), colour)
