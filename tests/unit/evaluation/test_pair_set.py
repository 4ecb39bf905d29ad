"""What is read as a set, and what is refused with which code."""

from __future__ import annotations

import io
import stat
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from osmis_core.data.reader import ReadOptions, read_pair
from osmis_core.evaluation import EvaluationError, Limits, PairSet, open_pair_set
from osmis_core.evaluation.sample_masks import SourceLabels
from tests.unit.evaluation.sets import SetOfFiles, Source, encoded, scene


def labels_of(source: Source, **options: object) -> SourceLabels:
    read = ReadOptions(**options)
    pair = read_pair(source.image, source.mask, read)
    return SourceLabels.of(pair, source.mask.read_bytes(), read)


def read_all(path: Path, source: Source, **options: object) -> tuple[PairSet, list[np.ndarray]]:
    """The checked set and its masks."""
    with open_pair_set(path, labels_of(source), **options) as pairs:
        pairs.check(lambda *_: None)
        return pairs, [pairs.mask(i) for i in range(len(pairs))]


def refusal(path: Path, source: Source, **options: object) -> EvaluationError:
    with pytest.raises(EvaluationError) as caught:
        read_all(path, source, **options)
    assert caught.value.hint
    return caught.value


@pytest.mark.parametrize("form", ["zip", "prefixed zip", "folder"])
def test_zip_and_folder_are_read_alike(form: str, files: SetOfFiles, source: Source) -> None:
    files.files["original/image.png"] = b"not a pair"
    files.files["rejected/images/9.png"] = files.files["images/000001.png"]
    files.files["rejected/masks/9.png"] = files.files["masks/000001.png"]
    if form == "prefixed zip":
        del files.files["rejected/images/9.png"]
        files.files["__MACOSX/images/._a.png"] = files.files["__MACOSX/masks/._a.png"] = b"x"
        renamed = {
            name if name.startswith("__") else f"my set/{name}": content
            for name, content in files.files.items()
        }
        path = SetOfFiles(files.folder, renamed).zipped()
    else:
        path = files.laid_out() if form == "folder" else files.zipped()
    pairs, masks = read_all(path, source)
    assert pairs.names == ("000001", "000002", "000003")
    for seed, mask in zip((1, 2, 3), masks, strict=True):
        np.testing.assert_array_equal(mask, scene(seed)[1])
    assert pairs.notices == []


def test_jpeg_and_webp_images_are_read(files: SetOfFiles, source: Source) -> None:
    files.add("a", *scene(4), suffix="jpg")
    files.add("b", *scene(5), suffix="webp")
    files.add("c", *scene(6), suffix="jpeg")
    pairs, _ = read_all(files.zipped(), source)
    assert len(pairs) == 6


def test_a_limit_takes_the_first_and_says_so(files: SetOfFiles, source: Source) -> None:
    pairs, _ = read_all(files.zipped(), source, limit=2)
    assert (len(pairs), pairs.available) == (2, 3)
    assert [notice.code for notice in pairs.notices] == ["limited"]


def test_lonely_files_are_left_out_and_named(files: SetOfFiles, source: Source) -> None:
    del files.files["masks/000002.png"]
    pairs, _ = read_all(files.zipped(), source)
    assert pairs.names == ("000001", "000003")
    assert "000002" in pairs.notices[0].detail


def test_masks_may_hold_what_the_source_mask_holds(files: SetOfFiles, source: Source) -> None:
    source.mask.write_bytes(encoded(source.mask_HW * 255))
    _, as_indices = read_all(files.zipped(), source)
    files.files.clear()
    for seed in (1, 2, 3):
        image, mask = scene(seed)
        files.add(str(seed), image, mask * 255)
    pairs, as_source = read_all(files.zipped(), source)
    np.testing.assert_array_equal(as_indices, as_source)
    assert [notice.code for notice in pairs.notices] == ["masks_as_source"]


def test_colour_masks_follow_the_source(tmp_path: Path, source: Source) -> None:
    palette = np.array([(0, 0, 0), (200, 30, 30)], np.uint8)
    source.mask.write_bytes(encoded(palette[source.mask_HW]))
    files = SetOfFiles(tmp_path)
    image, mask = scene(1)
    files.add("a", image, palette[mask])
    files.add("b", image, np.zeros_like(palette[mask]))  # all background: colours or indices
    _, (first, second) = read_all(files.zipped(), source)
    np.testing.assert_array_equal(first, mask)
    assert not second.any()
    files.add("a", image, palette[mask] + np.uint8(1))
    assert refusal(files.zipped(), source).code == "undeclared_class"


def test_ignored_values_stay_ignored(tmp_path: Path, source: Source) -> None:
    marked = source.mask_HW.copy()
    marked[:4] = 255
    source.mask.write_bytes(encoded(marked))
    files = SetOfFiles(tmp_path)
    image, mask = scene(1)
    mask[-3:] = 255
    files.add("a", image, mask)
    labels = labels_of(source, ignore_index=255)
    with open_pair_set(files.zipped(), labels) as pairs:
        pairs.check(lambda *_: None)
        np.testing.assert_array_equal(pairs.mask(0), mask)


def test_undeclared_classes_are_refused(files: SetOfFiles, source: Source) -> None:
    image, mask = scene(9)
    files.add("000009", image, mask * 7)
    error = refusal(files.zipped(), source)
    assert error.code == "undeclared_class"
    assert "masks/000009.png" in error.detail
    assert "7" in error.detail


def test_mixed_encodings_are_refused_naming_both(files: SetOfFiles, source: Source) -> None:
    source.mask.write_bytes(encoded(source.mask_HW * 255))
    image, mask = scene(9)
    files.add("000009", image, mask * 255)
    error = refusal(files.zipped(), source)
    assert error.code == "undeclared_class"
    assert "000009" in error.detail
    assert "000001" in error.detail


def test_sizes_must_agree_within_a_pair_only(files: SetOfFiles, source: Source) -> None:
    files.add("000008", *scene(8, 60, 80))
    assert read_all(files.zipped(), source)[0].sizes[-1] == (60, 80)
    files.add("000009", scene(9)[0], scene(9)[1][:-2])
    error = refusal(files.zipped(), source)
    assert error.code == "size_mismatch"
    assert "64×48" in error.detail
    assert "64×46" in error.detail


def test_what_is_no_set(tmp_path: Path, source: Source) -> None:
    text = tmp_path / "set.zip"
    text.write_text("hello")
    assert refusal(text, source).code == "not_a_set"
    assert refusal(tmp_path / "nowhere.zip", source).code == "not_found"
    with zipfile.ZipFile(text, "w"):
        pass
    assert refusal(text, source).code == "no_pairs"
    (tmp_path / "empty").mkdir()
    assert refusal(tmp_path / "empty", source).code == "no_pairs"


def test_no_pairs(files: SetOfFiles, source: Source) -> None:
    files.files = {name: c for name, c in files.files.items() if name.startswith("images/")}
    assert refusal(files.zipped(), source).code == "no_pairs"


def test_two_images_of_one_name(files: SetOfFiles, source: Source) -> None:
    files.files["images/000001.jpg"] = encoded(scene(1)[0], "JPEG")
    assert refusal(files.zipped(), source).code == "ambiguous_pair"


def test_several_sets_in_one_zip(files: SetOfFiles, source: Source) -> None:
    both = {f"{top}/{name}": c for top in "ab" for name, c in files.files.items()}
    error = refusal(SetOfFiles(files.folder, both).zipped(), source)
    assert error.code == "no_pairs"
    assert "a/, b/" in error.detail


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "unsupported_image"),
        (b"not an image", "unsupported_image"),
        (encoded(scene(0)[0])[:300], "broken_image"),
    ],
)
def test_unreadable_images_are_named(
    content: bytes, code: str, files: SetOfFiles, source: Source
) -> None:
    files.files["images/000002.png"] = content
    error = refusal(files.zipped(), source)
    assert error.code == code
    assert error.detail.startswith("images/000002.png: ")


def test_lossy_masks_are_refused(files: SetOfFiles, source: Source) -> None:
    del files.files["masks/000002.png"]
    files.files["masks/000002.jpg"] = encoded(scene(2)[1] * 255, "JPEG")
    error = refusal(files.zipped(), source)
    assert error.code == "lossy_mask"
    assert "000002" in error.detail


def test_thumbnails_are_refused(files: SetOfFiles, source: Source) -> None:
    image, mask = scene(1)
    files.add("000001", image[:12, :12], mask[:12, :12])
    assert refusal(files.zipped(), source).code == "too_small"


@pytest.mark.parametrize(
    "name", ["../images/x.png", "/images/x.png", "images/../../x.png", "C:/x.png", "images\\x.png"]
)
def test_names_that_point_outside_are_refused(
    name: str, files: SetOfFiles, source: Source, tmp_path: Path
) -> None:
    files.files[name] = b"x"
    before = sorted(tmp_path.rglob("*"))
    error = refusal(files.zipped(), source)
    assert error.code == "unsafe_name"
    assert sorted({*before, tmp_path / "set.zip"}) == sorted(tmp_path.rglob("*"))


def test_links_are_refused(files: SetOfFiles, source: Source) -> None:
    path = files.zipped()
    entry = zipfile.ZipInfo("images/link.png")
    entry.create_system = 3
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(entry, "/etc/passwd")
    assert refusal(path, source).code == "unsafe_name"


def test_too_many_entries(files: SetOfFiles, source: Source) -> None:
    assert refusal(files.zipped(), source, limits=Limits(entries=5)).code == "too_many_entries"


def test_an_entry_that_unpacks_to_too_much(files: SetOfFiles, source: Source) -> None:
    path = files.zipped()
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("images/000004.png", bytes(3_000_000))
        archive.writestr("masks/000004.png", bytes(3_000_000))
    assert path.stat().st_size < 1_000_000
    error = refusal(path, source, limits=Limits(file_bytes=1_000_000))
    assert error.code == "too_large_entry"


def test_an_entry_whose_header_lies_about_its_size(files: SetOfFiles, source: Source) -> None:
    path = files.zipped()
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("images/000000.png", bytes(3_000_000))
        archive.writestr("masks/000000.png", b"x")
    size = (3_000_000).to_bytes(4, "little")
    path.write_bytes(path.read_bytes().replace(size, (1_000).to_bytes(4, "little")))
    error = refusal(path, source, limits=Limits(file_bytes=1_000_000))
    assert error.code == "broken_archive"


def test_an_image_of_too_many_pixels(files: SetOfFiles, source: Source) -> None:
    """A few kilobytes that would decode to hundreds of megabytes."""
    huge = io.BytesIO()
    Image.new("1", (12_000, 12_000)).save(huge, "PNG")
    files.files["images/000002.png"] = huge.getvalue()
    assert len(huge.getvalue()) < 100_000
    error = refusal(files.zipped(), source)
    assert error.code == "too_many_pixels"
    assert "000002" in error.detail


def test_damaged_archives(files: SetOfFiles, source: Source) -> None:
    path = files.zipped()
    content = bytearray(path.read_bytes())
    place = content.find(b"IDAT") + 20
    content[place] ^= 0xFF
    path.write_bytes(content)
    assert refusal(path, source).code == "broken_archive"
    path.write_bytes(content[:200] + content[-22:])
    assert refusal(path, source).code in {"broken_archive", "not_a_set"}


def test_encrypted_entries(files: SetOfFiles, source: Source) -> None:
    path = files.zipped()
    content = bytearray(path.read_bytes())
    place = content.find(b"PK\x01\x02")
    while place != -1:
        content[place + 8] |= 1
        place = content.find(b"PK\x01\x02", place + 4)
    path.write_bytes(content)
    assert refusal(path, source).code == "encrypted"
