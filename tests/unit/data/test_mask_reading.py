"""Mask encodings: declared or detected, what becomes of odd values, every refusal."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw

from osmis_core.data.pair import IGNORE
from osmis_core.data.reader import ReadOptions, read_pair
from osmis_core.errors import PairError

COLOURS = np.array([[0, 0, 0], [255, 0, 0], [0, 128, 255]], dtype=np.uint8)


def codes(pair):
    return {notice.code for notice in pair.notices}


@pytest.fixture
def refuse(photo):
    def refusal(mask, image=None, **options):
        with pytest.raises(PairError) as caught:
            read_pair(image or photo, mask, ReadOptions(**options))
        assert caught.value.hint
        return caught.value

    return refusal


def test_consecutive_values_are_indices(photo, mask, labels_HW):
    pair = read_pair(photo, mask)
    np.testing.assert_array_equal(pair.mask_HW, labels_HW)
    assert pair.encoding == "index"
    assert not pair.encoding_declared
    assert pair.class_names == ("background", "class_1", "class_2")
    assert sum(pair.area_fractions()) == pytest.approx(1.0)


def test_declared_names_and_encoding_are_kept(photo, mask):
    names = ("table", "cup", "spoon")
    pair = read_pair(photo, mask, ReadOptions(class_names=names, mask_encoding="index"))
    assert pair.class_names == names
    assert pair.encoding_declared


def test_binary_0_255_is_detected(encode, photo, labels_HW):
    pair = read_pair(photo, encode(((labels_HW > 0) * 255).astype(np.uint8)))
    assert pair.encoding == "binary"
    assert pair.class_names == ("background", "object")
    np.testing.assert_array_equal(pair.mask_HW, labels_HW > 0)


def test_16_bit_binary_is_detected(encode, photo, labels_HW):
    pair = read_pair(photo, encode(((labels_HW > 0) * 65535).astype(np.uint16)))
    assert pair.encoding == "binary"
    np.testing.assert_array_equal(pair.mask_HW, labels_HW > 0)


def test_bilevel_mask_is_read(encode, photo, labels_HW):
    pair = read_pair(photo, encode(Image.fromarray(labels_HW > 0)))
    np.testing.assert_array_equal(pair.mask_HW, labels_HW > 0)


def test_16_bit_indices_are_read(encode, photo, labels_HW):
    pair = read_pair(photo, encode(labels_HW.astype(np.uint16)))
    np.testing.assert_array_equal(pair.mask_HW, labels_HW)


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_tiff_of_whole_numbers_is_read(encode, photo, labels_HW, dtype):
    pair = read_pair(photo, encode(labels_HW.astype(dtype), "TIFF"))
    np.testing.assert_array_equal(pair.mask_HW, labels_HW)


def test_lossless_webp_mask_is_read(encode, photo, labels_HW):
    colours = Image.fromarray(COLOURS[labels_HW])
    pair = read_pair(photo, encode(colours, "WEBP", lossless=True))
    assert pair.class_count == 3


def test_palette_mask_is_read_by_its_indices(encode, photo, labels_HW):
    palette = Image.fromarray(labels_HW)
    palette.putpalette(COLOURS[[0, 1, 2]].ravel().tolist())
    pair = read_pair(photo, encode(palette))
    assert palette.convert("L").getextrema() != (0, 2), "the trap: grey values are not indices"
    np.testing.assert_array_equal(pair.mask_HW, labels_HW)
    assert pair.encoding == "index"
    assert "palette_indices" in codes(pair)


def test_palette_declared_as_rgb_is_read_by_its_colours(encode, photo, labels_HW):
    palette = Image.fromarray(2 - labels_HW)
    palette.putpalette(COLOURS[[2, 1, 0]].ravel().tolist())
    pair = read_pair(photo, encode(palette), ReadOptions(mask_encoding="rgb"))
    np.testing.assert_array_equal(pair.mask_HW == 0, labels_HW == 0)


def test_colours_become_indices_black_first(encode, photo, labels_HW):
    pair = read_pair(photo, encode(COLOURS[labels_HW]))
    assert pair.encoding == "rgb"
    assert pair.class_names == ("#000000", "#0080ff", "#ff0000")
    np.testing.assert_array_equal(pair.mask_HW, np.array([0, 2, 1])[labels_HW])
    assert "colours_indexed" in codes(pair)


def test_without_black_the_borders_colour_is_the_background(encode, photo, labels_HW):
    colours = np.array([[250, 250, 0], [10, 0, 0], [0, 128, 255]], dtype=np.uint8)
    pair = read_pair(photo, encode(colours[labels_HW]))
    assert pair.class_names[0] == "#fafa00"
    np.testing.assert_array_equal(pair.mask_HW == 0, labels_HW == 0)


def test_colour_order_does_not_depend_on_the_layout(encode, photo, labels_HW):
    turned = read_pair(photo, encode(COLOURS[labels_HW[::-1, ::-1]]))
    assert turned.class_names == read_pair(photo, encode(COLOURS[labels_HW])).class_names


def test_grey_rgb_mask_is_an_index_mask(encode, photo, labels_HW):
    pair = read_pair(photo, encode(np.dstack([labels_HW] * 3)))
    assert pair.encoding == "index"
    np.testing.assert_array_equal(pair.mask_HW, labels_HW)


def test_transparent_background_is_background(encode, photo, labels_HW):
    rgba_HWC = np.dstack([COLOURS[labels_HW], (labels_HW > 0) * np.uint8(255)])
    rgba_HWC[labels_HW == 0, :3] = 77
    pair = read_pair(photo, encode(rgba_HWC))
    assert pair.class_names[0] == "#000000"
    np.testing.assert_array_equal(pair.mask_HW == 0, labels_HW == 0)


def test_declared_ignore_becomes_ignore(encode, photo, labels_HW):
    labels_HW[:4] = 255
    pair = read_pair(photo, encode(labels_HW), ReadOptions(ignore_index=255))
    assert (pair.mask_HW[:4] == IGNORE).all()
    assert pair.class_count == 3
    assert sum(pair.area_fractions()) == pytest.approx(1.0)


def test_any_value_can_be_ignored(encode, photo, labels_HW):
    pair = read_pair(photo, encode(labels_HW), ReadOptions(ignore_index=1))
    np.testing.assert_array_equal(pair.mask_HW == IGNORE, labels_HW == 1)
    assert pair.class_names == ("background", "class_2")
    assert "indices_compacted" in codes(pair)


def test_ignored_grey_level_of_a_colour_mask(encode, photo, labels_HW):
    colours_HWC = COLOURS[labels_HW]
    colours_HWC[:4] = 255
    pair = read_pair(photo, encode(colours_HWC), ReadOptions(ignore_index=255))
    assert (pair.mask_HW[:4] == IGNORE).all()
    assert pair.class_count == 3


def test_binary_with_declared_ignore_beside(encode, photo, labels_HW):
    labels_HW[labels_HW == 2] = 255
    pair = read_pair(photo, encode(labels_HW), ReadOptions(ignore_index=255))
    assert pair.class_count == 2
    assert int(pair.mask_HW[labels_HW == 1].max()) == 1


def test_ignore_that_never_occurs_is_said(photo, mask):
    assert "ignore_unused" in codes(read_pair(photo, mask, ReadOptions(ignore_index=255)))


def test_undeclared_255_beside_classes_is_refused_with_the_way_out(encode, refuse, labels_HW):
    labels_HW[:4] = 255
    error = refuse(encode(labels_HW))
    assert error.code == "undeclared_index"
    assert "ignore_index=255" in error.hint


def test_skipped_values_are_compacted_and_said(encode, photo, labels_HW):
    pair = read_pair(photo, encode(np.array([0, 5, 15], dtype=np.uint8)[labels_HW]))
    np.testing.assert_array_equal(pair.mask_HW, labels_HW)
    assert pair.class_names == ("background", "class_5", "class_15")
    notice = next(n for n in pair.notices if n.code == "indices_compacted")
    assert "0, 5, 15" in notice.detail


def test_skipped_values_that_names_cover_are_kept(encode, photo, labels_HW):
    names = ("table", "saucer", "cup", "spoon")
    stored_HW = np.array([0, 1, 3], dtype=np.uint8)[labels_HW]
    pair = read_pair(photo, encode(stored_HW), ReadOptions(class_names=names))
    np.testing.assert_array_equal(pair.mask_HW, stored_HW)
    assert pair.class_names == names
    assert pair.area_fractions()[2] == 0.0
    assert "class_absent" in codes(pair)


def test_as_many_names_as_values_are_given_in_order(encode, photo, labels_HW):
    stored = encode(np.array([0, 38, 75], dtype=np.uint8)[labels_HW])
    pair = read_pair(photo, stored, ReadOptions(class_names=("a", "b", "c")))
    np.testing.assert_array_equal(pair.mask_HW, labels_HW)
    assert pair.class_names == ("a", "b", "c")


def test_too_few_names_are_refused(mask, refuse):
    assert refuse(mask, class_names=("a", "b")).code == "class_count_mismatch"


@pytest.mark.parametrize("names", [("a",), ("a", "a", "b"), ("a", " ", "b"), tuple("abcd" * 9)])
def test_bad_names_are_refused(mask, refuse, names):
    assert refuse(mask, class_names=names).code == "bad_classes"


@pytest.mark.parametrize("value", [0, 1, 255])
def test_one_class_is_refused(encode, refuse, value):
    assert refuse(encode(Image.new("L", (64, 48), value))).code == "single_class"


def test_one_class_beside_ignore_is_refused(encode, refuse, labels_HW):
    stored = encode(np.where(labels_HW > 0, 1, 255).astype(np.uint8))
    assert refuse(stored, ignore_index=255).code == "single_class"


@pytest.mark.parametrize("file_format", ["JPEG", "WEBP"])
def test_lossy_formats_are_refused(encode, refuse, labels_HW, file_format):
    stored = Image.fromarray(((labels_HW > 0) * 255).astype(np.uint8)).convert("RGB")
    assert refuse(encode(stored, file_format)).code == "lossy_mask"


def test_jpeg_compressed_tiff_is_refused(encode, refuse, labels_HW):
    stored = Image.fromarray(COLOURS[labels_HW])
    assert refuse(encode(stored, "TIFF", compression="jpeg")).code == "lossy_mask"


def test_mask_that_went_through_jpeg_is_refused(encode, refuse, labels_HW, tmp_path):
    stored = ((labels_HW > 0) * 255).astype(np.uint8)
    (tmp_path / "mask.jpg").write_bytes(encode(stored, "JPEG", quality=75))
    with Image.open(tmp_path / "mask.jpg") as blurred:
        assert refuse(encode(blurred.convert("L"))).code == "lossy_mask"


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_anti_aliased_mask_is_refused(encode, refuse, mode):
    large = Image.new(mode, (256, 192))
    white, yellow = (255, 200) if mode == "L" else ((255, 0, 0), (0, 255, 80))
    ImageDraw.Draw(large).ellipse((20, 20, 150, 150), fill=white)
    ImageDraw.Draw(large).ellipse((170, 90, 240, 170), fill=yellow)
    smooth = large.resize((64, 48), Image.Resampling.LANCZOS)
    assert refuse(encode(smooth)).code == "lossy_mask"


def test_slightly_anti_aliased_binary_mask_is_refused(encode, refuse):
    large = Image.new("L", (128, 96))
    ImageDraw.Draw(large).ellipse((20, 20, 90, 80), fill=255)
    smooth = large.resize((64, 48), Image.Resampling.BOX)
    assert len(np.unique(np.asarray(smooth))) < 8
    assert refuse(encode(smooth)).code == "lossy_mask"


def test_partly_transparent_mask_is_refused(encode, refuse, labels_HW):
    alpha_HW = np.full((48, 64), 100, dtype=np.uint8)
    assert refuse(encode(np.dstack([COLOURS[labels_HW], alpha_HW]))).code == "lossy_mask"


def test_photograph_as_mask_is_refused(encode, refuse, photo_HWC):
    noise = np.random.default_rng(0).integers(0, 30, photo_HWC.shape, dtype=np.uint8)
    assert refuse(encode(photo_HWC + noise)).code == "lossy_mask"


@pytest.mark.parametrize("coded", ["16-bit", "rgb"])
def test_300_classes_are_refused_as_that(encode, refuse, coded):
    numbers_HW = (np.arange(15)[:, None] * 20 + np.arange(20)[None]).repeat(12, 0).repeat(12, 1)
    image = encode(Image.new("RGB", numbers_HW.shape[::-1]))
    if coded == "16-bit":
        stored = numbers_HW.astype(np.uint16)
    else:
        stored = np.dstack([numbers_HW % 256, numbers_HW // 256, numbers_HW % 7]).astype(np.uint8)
    error = refuse(encode(stored), image)
    assert error.code == "too_many_classes"
    assert "300" in error.detail


def test_32_classes_are_read_and_33_are_not(encode, photo, refuse):
    for count in (32, 33):
        stored_HW = (np.arange(48 * 64).reshape(48, 64) // 8 % 8).astype(np.uint8)
        stored_HW = np.minimum(np.arange(64)[None] // 2 + stored_HW * 0, count - 1)
        stored_HW[:3, :3] = count - 1
        stored = encode(stored_HW.astype(np.uint8))
        if count == 32:
            assert read_pair(photo, stored).class_count == 32
        else:
            wide_HW = np.arange(99)[None].repeat(48, 0) // 3
            image = encode(Image.new("RGB", (99, 48)))
            assert refuse(encode(wide_HW.astype(np.uint8)), image).code == "too_many_classes"


def test_thin_objects_are_no_blending(encode, photo):
    labels_HW = np.zeros((48, 64), dtype=np.uint8)
    labels_HW[10, :] = 1
    labels_HW[:, 30] = 2
    labels_HW[20, :] = 3
    assert read_pair(photo, encode(labels_HW)).class_count == 4


def test_three_values_are_not_binary(mask, refuse):
    assert refuse(mask, mask_encoding="binary").code == "not_binary"


def test_colours_are_not_indices(encode, refuse, labels_HW):
    error = refuse(encode(COLOURS[labels_HW]), mask_encoding="index")
    assert error.code == "encoding_mismatch"


def test_16_bit_values_are_not_colours(encode, refuse, labels_HW):
    stored = encode(labels_HW.astype(np.uint16) * 300)
    assert refuse(stored, mask_encoding="rgb").code == "encoding_mismatch"


def test_tiny_class_and_inverted_mask_are_pointed_out(encode, labels_HW):
    inverted_HW = np.where(labels_HW > 0, 0, 255).astype(np.uint8)
    photo = encode(Image.new("RGB", (64, 48)))
    assert "maybe_inverted" in codes(read_pair(photo, encode(inverted_HW)))
    labels_HW[0, 0] = 3
    assert "tiny_class" in codes(read_pair(photo, encode(labels_HW)))
