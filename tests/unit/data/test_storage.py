"""Normalised storage gives back exactly the pair that was saved."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from osmis_core.data.reader import ReadOptions, load_normalised, read_pair, save_normalised


@pytest.mark.parametrize("is_grey", [False, True])
def test_round_trip(encode, photo_HWC, labels_HW, tmp_path, is_grey):
    labels_HW[:3] = 255
    image = Image.fromarray(photo_HWC)
    content = encode(image.convert("L") if is_grey else image)
    options = ReadOptions(class_names=("fond", "tasse", "cuillère"), ignore_index=255)
    pair = read_pair(content, encode(labels_HW), options)
    save_normalised(pair, tmp_path / "new" / "folder")
    again = load_normalised(tmp_path / "new" / "folder")
    np.testing.assert_array_equal(again.image_HWC, pair.image_HWC)
    np.testing.assert_array_equal(again.mask_HW, pair.mask_HW)
    for name in ("class_names", "is_grey", "encoding", "encoding_declared", "notices"):
        assert getattr(again, name) == getattr(pair, name)
    with Image.open(tmp_path / "new/folder/image.png") as stored:
        assert stored.mode == ("L" if is_grey else "RGB")
    with Image.open(tmp_path / "new/folder/mask.png") as stored:
        assert stored.mode == "L"


def test_saving_twice_gives_the_same_bytes(photo, mask, tmp_path):
    for folder in ("a", "b"):
        save_normalised(read_pair(photo, mask), tmp_path / folder)
    for name in ("image.png", "mask.png", "pair.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_trailing_payload_is_gone(photo, mask, tmp_path):
    save_normalised(read_pair(photo + b"<script>payload</script>", mask), tmp_path)
    assert b"payload" not in (tmp_path / "image.png").read_bytes()
