"""The image of a pair: every format and mode that users send, every refusal."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms

from osmis_core.data.reader import ReadOptions, check_file_name, read_pair
from osmis_core.errors import PairError


def codes(pair):
    return {notice.code for notice in pair.notices}


def refusal(image, mask, **options):
    with pytest.raises(PairError) as caught:
        read_pair(image, mask, ReadOptions(**options))
    assert caught.value.hint
    assert caught.value.detail
    return caught.value


@pytest.mark.parametrize("file_format", ["PNG", "TIFF", "WEBP"])
def test_lossless_formats_give_the_same_pixels(encode, photo_HWC, mask, file_format):
    options = {"lossless": True} if file_format == "WEBP" else {}
    pair = read_pair(encode(photo_HWC, file_format, **options), mask)
    np.testing.assert_array_equal(pair.image_HWC, photo_HWC)
    assert not pair.is_grey


def test_jpeg_photograph_is_read(encode, photo_HWC, mask):
    pair = read_pair(encode(photo_HWC, "JPEG", quality=95), mask)
    assert np.abs(pair.image_HWC.astype(int) - photo_HWC).mean() < 4


def test_jpeg_with_embedded_preview_is_a_photograph(encode, photo_HWC, mask):
    preview = Image.fromarray(photo_HWC[::2, ::2])
    content = encode(photo_HWC, "MPO", save_all=True, append_images=[preview])
    assert read_pair(content, mask).image_HWC.shape == photo_HWC.shape


def test_path_is_read(tmp_path, photo, mask):
    (tmp_path / "photo.png").write_bytes(photo)
    (tmp_path / "mask.png").write_bytes(mask)
    assert read_pair(tmp_path / "photo.png", tmp_path / "mask.png").class_count == 3


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_to_both(encode, photo_HWC, labels_HW, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    pair = read_pair(encode(photo_HWC, exif=exif), encode(labels_HW, exif=exif))
    expected_size = (64, 48) if orientation >= 5 else (48, 64)
    assert pair.image_HWC.shape[:2] == pair.mask_HW.shape == expected_size
    # Red grows with the rows, green with the columns: both must agree with where the block went.
    block = pair.image_HWC[pair.mask_HW == 1]
    np.testing.assert_array_equal(
        np.sort(block, axis=0), np.sort(photo_HWC[labels_HW == 1], axis=0)
    )
    assert ("turned_upright" in codes(pair)) == (orientation > 1)


def test_orientation_of_one_only_is_a_size_mismatch_that_says_so(encode, photo_HWC, mask):
    exif = Image.Exif()
    exif[0x0112] = 6
    error = refusal(encode(photo_HWC, exif=exif), mask)
    assert error.code == "size_mismatch"
    assert "90" in error.hint


def test_damaged_exif_is_no_reason_to_refuse(encode, photo_HWC, mask):
    content = encode(photo_HWC, "JPEG", quality=95, exif=b"Exif\x00\x00II*\x00garbage\xff\xff")
    assert read_pair(content, mask).height == 48


@pytest.mark.parametrize(("largest", "bits"), [(65535, 16), (4095, 12), (255, 8)])
def test_deep_grey_is_scaled_by_its_bit_depth(encode, labels_HW, largest, bits):
    deep_HW = np.linspace(0, largest, 48 * 64).reshape(48, 64).astype(np.uint16)
    pair = read_pair(encode(deep_HW), encode(labels_HW))
    assert pair.is_grey
    np.testing.assert_allclose(pair.image_HWC[..., 0], deep_HW * (255 / (2**bits - 1)), atol=0.51)
    assert "scaled_to_8_bit" in codes(pair)


def test_grey_image_is_grey(encode, photo_HWC, mask):
    grey = Image.fromarray(photo_HWC).convert("L")
    pair = read_pair(encode(grey), mask)
    assert pair.is_grey
    for channel in range(3):
        np.testing.assert_array_equal(pair.image_HWC[..., channel], np.asarray(grey))


def test_floating_point_image_is_refused(encode, mask):
    values_HW = np.random.default_rng(0).random((48, 64)).astype(np.float32)
    assert refusal(encode(values_HW, "TIFF"), mask).code == "unsupported_image"


def test_alpha_is_composited_on_white_and_said(encode, photo_HWC, mask):
    alpha_HW = np.full((48, 64), 255, dtype=np.uint8)
    alpha_HW[:10] = 0
    alpha_HW[10:20] = 128
    pair = read_pair(encode(np.dstack([photo_HWC, alpha_HW])), mask)
    assert (pair.image_HWC[:10] == 255).all()
    np.testing.assert_allclose(pair.image_HWC[10:20], photo_HWC[10:20] / 2 + 127.5, atol=2)
    np.testing.assert_array_equal(pair.image_HWC[20:], photo_HWC[20:])
    assert "alpha_composited" in codes(pair)


def test_opaque_alpha_is_dropped_without_a_word(encode, photo_HWC, mask):
    pair = read_pair(encode(Image.fromarray(photo_HWC).convert("RGBA")), mask)
    np.testing.assert_array_equal(pair.image_HWC, photo_HWC)
    assert "alpha_composited" not in codes(pair)


def test_grey_with_alpha_stays_grey(encode, photo_HWC, mask):
    grey = Image.fromarray(photo_HWC).convert("L")
    grey.putalpha(0)
    pair = read_pair(encode(grey), mask)
    assert pair.is_grey
    assert (pair.image_HWC == 255).all()


@pytest.mark.parametrize("mode", ["P", "RGB", "L"])
def test_transparent_colour_key_becomes_white(encode, mode, mask):
    colours = Image.new(mode, (64, 48), 0)
    colours.paste(1 if mode != "RGB" else (9, 9, 9), (0, 0, 64, 24))
    if mode == "P":
        colours.putpalette([0, 0, 0, 9, 9, 9])
    pair = read_pair(encode(colours, transparency=0 if mode != "RGB" else (0, 0, 0)), mask)
    assert (pair.image_HWC[30:] == 255).all()
    assert (pair.image_HWC[:20] < 10).all()


def test_palette_image_gets_its_colours(encode, photo_HWC, mask):
    palette = Image.fromarray(photo_HWC).quantize(64)
    pair = read_pair(encode(palette), mask)
    np.testing.assert_array_equal(pair.image_HWC, np.asarray(palette.convert("RGB")))


@pytest.mark.parametrize("file_format", ["JPEG", "TIFF"])
def test_cmyk_becomes_rgb(encode, mask, file_format):
    cmyk = Image.new("CMYK", (64, 48), (0, 255, 255, 0))
    pair = read_pair(encode(cmyk, file_format), mask)
    assert pair.image_HWC.shape == (48, 64, 3)
    red, green, blue = pair.image_HWC.reshape(-1, 3).mean(axis=0)
    assert red > 200 > 60 > max(green, blue)


def test_embedded_profile_is_converted_to_srgb(encode, mask):
    swapped = _profile_with_red_and_green_swapped()
    content = encode(Image.new("RGB", (64, 48), (255, 0, 0)), icc_profile=swapped)
    pair = read_pair(content, mask)
    red, green, _ = pair.image_HWC.reshape(-1, 3).mean(axis=0)
    assert green > 200 > red
    assert "converted_to_srgb" in codes(pair)


def _profile_with_red_and_green_swapped() -> bytes:
    """An sRGB profile whose rXYZ and gXYZ tags are exchanged, under another name."""
    content = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    red, green = content.index(b"rXYZ"), content.index(b"gXYZ")
    content[red : red + 4], content[green : green + 4] = b"gXYZ", b"rXYZ"
    for name in (b"sRGB", "sRGB".encode("utf-16-be")):
        content = content.replace(name, name[:-1] + b"X")
    return bytes(content)


def test_srgb_profile_changes_nothing(encode, photo_HWC, mask):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    pair = read_pair(encode(photo_HWC, icc_profile=profile), mask)
    np.testing.assert_array_equal(pair.image_HWC, photo_HWC)


def test_broken_profile_is_ignored_and_said(encode, photo_HWC, mask):
    pair = read_pair(encode(photo_HWC, icc_profile=b"no profile at all"), mask)
    np.testing.assert_array_equal(pair.image_HWC, photo_HWC)
    assert "profile_ignored" in codes(pair)


def test_lab_image_is_converted(encode, mask):
    lab = Image.merge("LAB", [Image.new("L", (64, 48), value) for value in (255, 128, 128)])
    assert read_pair(encode(lab, "TIFF"), mask).image_HWC.min() > 245


@pytest.mark.parametrize("content", [b"", b"only text in here\n" * 20, b"\x89PNG\r\n\x1a\n"])
def test_no_image_is_refused(mask, content):
    assert refusal(content, mask).code in {"unsupported_image", "broken_image"}


def test_text_named_png_is_unsupported(mask):
    assert refusal(b"dear service, here is my photograph", mask).code == "unsupported_image"


@pytest.mark.parametrize("file_format", ["BMP", "PPM", "ICO"])
def test_other_formats_are_unsupported(encode, photo_HWC, mask, file_format):
    assert refusal(encode(photo_HWC, file_format), mask).code == "unsupported_image"


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "TIFF", "WEBP"])
def test_half_a_file_is_broken(encode, mask, file_format):
    noise_HWC = np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)
    content = encode(noise_HWC, file_format)
    assert refusal(content[: len(content) // 2], mask).code in {"broken_image", "unsupported_image"}


def test_half_a_png_is_broken_and_not_unsupported(encode, photo_HWC, mask):
    content = encode(photo_HWC)
    assert refusal(content[: len(content) // 2], mask).code == "broken_image"


@pytest.mark.parametrize("file_format", ["GIF", "PNG", "WEBP", "TIFF"])
def test_several_frames_are_refused(encode, photo_HWC, mask, file_format):
    second = Image.fromarray(255 - photo_HWC)
    content = encode(photo_HWC, file_format, save_all=True, append_images=[second])
    assert refusal(content, mask).code == "animated"
    assert refusal(encode(photo_HWC), content).code == "animated"


def test_still_gif_is_unsupported_by_name(encode, photo_HWC, mask):
    error = refusal(encode(photo_HWC, "GIF"), mask)
    assert error.code == "unsupported_image"
    assert "GIF" in error.detail


@pytest.mark.parametrize("side_px", [3000, 12000, 20000])
def test_too_many_pixels_are_refused_before_they_are_loaded(encode, mask, side_px):
    # One bit a pixel compresses to almost nothing: the file is small, the image is not.
    bomb = encode(Image.new("1", (side_px, side_px)))
    assert len(bomb) < 200_000
    assert refusal(bomb, mask, max_pixels=5_000_000).code == "too_many_pixels"
    assert refusal(encode(Image.new("L", (64, 48))), bomb, max_pixels=5_000_000).code == (
        "too_many_pixels"
    )


def test_size_mismatch_offers_nearest_neighbour_for_a_scaled_mask(encode, photo, labels_HW):
    error = refusal(photo, encode(labels_HW[::2, ::2]))
    assert error.code == "size_mismatch"
    assert "64×48" in error.hint


@pytest.mark.parametrize(
    ("width", "height", "code"),
    [(20, 20, "too_small"), (31, 100, "too_small"), (400, 40, "bad_aspect")],
)
def test_sizes_that_cant_be_learned(encode, width, height, code):
    labels_HW = np.zeros((height, width), dtype=np.uint8)
    labels_HW[: height // 2] = 1
    image = encode(Image.new("RGB", (width, height)))
    assert refusal(image, encode(labels_HW)).code == code


@pytest.mark.parametrize(
    ("name", "file_format", "is_right"),
    [
        ("photo.png", "PNG", True),
        ("PHOTO.JPG", "JPEG", True),
        ("photo.jfif", "JPEG", True),
        ("scan.tif", "TIFF", True),
        ("upload", "PNG", True),
        ("photo.v2", "PNG", True),
        ("photo.png", "JPEG", False),
        ("photo.jpg", "WEBP", False),
        ("../../etc/passwd.tiff", "PNG", False),
    ],
)
def test_name_and_content_must_agree(encode, photo_HWC, name, file_format, is_right):
    content = encode(photo_HWC, file_format)
    if is_right:
        check_file_name(name, content, "image")
        return
    with pytest.raises(PairError) as caught:
        check_file_name(name, content, "image")
    assert caught.value.code == "name_mismatch"


def test_text_named_png_fails_the_name_check_as_no_image():
    with pytest.raises(PairError) as caught:
        check_file_name("photo.png", b"some text", "mask")
    assert caught.value.code == "unsupported_image"


@settings(max_examples=150, deadline=None)
@given(
    file_format=st.sampled_from(["PNG", "JPEG", "TIFF", "WEBP", "GIF"]),
    edits=st.lists(
        st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=12
    ),
    kept=st.floats(0.2, 1.0),
)
def test_damaged_files_are_read_or_refused_but_never_crash(file_format, edits, kept):
    pixels_HWC = np.random.default_rng(1).integers(0, 255, (40, 40, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels_HWC).save(buffer, file_format)
    content = bytearray(buffer.getvalue())
    for place, value in edits:
        content[int(place * len(content))] = value
    damaged = bytes(content[: int(kept * len(content))])
    labels = io.BytesIO()
    Image.fromarray((pixels_HWC[..., 0] > 128).astype(np.uint8)).save(labels, "PNG")
    for image, mask in ((damaged, labels.getvalue()), (labels.getvalue(), damaged)):
        with contextlib.suppress(PairError):
            pair = read_pair(image, mask, ReadOptions(max_pixels=100_000))
            assert pair.image_HWC.shape[:2] == pair.mask_HW.shape
