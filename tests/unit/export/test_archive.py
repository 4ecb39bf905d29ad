"""The zip: what is in it, that it loads, that equal sets give equal bytes, in flat memory."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import re
import tracemalloc
import zipfile
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image

from osmis_core.data.pair import Pair
from osmis_core.export.archive import ExportItem, write_archive

SIZE = (48, 64)


def make_pair(*, is_grey: bool = False, size: tuple[int, int] = SIZE) -> Pair:
    height, width = size
    mask_HW = np.zeros(size, dtype=np.uint8)
    mask_HW[height // 4 : height // 2, width // 4 : width // 2] = 1
    grey_HW = np.linspace(0, 255, height * width).reshape(size).astype(np.uint8)
    return Pair(
        image_HWC=np.dstack([grey_HW, grey_HW, grey_HW if is_grey else mask_HW]),
        mask_HW=mask_HW,
        class_names=("background", "coin|x"),
        is_grey=is_grey,
        encoding="index",
        encoding_declared=False,
    )


def make_items(pair: Pair, count: int) -> Iterator[ExportItem]:
    """Every fifth item is rejected."""
    for index in range(count):
        yield ExportItem(
            index=index,
            seed=1000 + index,
            candidate=index % 3,
            strangeness=None if index == 0 else 0.25 * index,
            image_HWC=np.roll(pair.image_HWC, index, axis=1),
            mask_HW=np.roll(pair.mask_HW, index, axis=1),
            kept=index % 5 != 4,
            score=index / 3,
            distances={"conv1": 0.01 * index, "conv2": 1e-9},
            ranks={"conv1": float(index), "conv2": 1.0},
            reason="kept" if index % 5 != 4 else "worst in conv1",
            verbatim_share=None if index == 0 else 0.5,
        )


@pytest.fixture
def archive(tmp_path):
    pair = make_pair()
    path = tmp_path / "set.zip"
    summary = write_archive(path, make_items(pair, 12), pair=pair, manifest={"seed": 0, "é": "ü"})
    return path, summary, pair


def test_entries_and_summary(archive):
    path, summary, _ = archive
    assert (summary.kept, summary.rejected) == (10, 2)
    assert summary.size_bytes == path.stat().st_size
    assert summary.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    with zipfile.ZipFile(path) as opened:
        assert opened.testzip() is None
        names = opened.namelist()
        assert opened.read("preview.jpg") == summary.preview_jpeg
    numbered = [f"{number:06d}.png" for number in range(10)]
    assert set(names) == {
        "README.md",
        "manifest.json",
        "metadata.jsonl",
        "rejected.jsonl",
        "preview.jpg",
        "original/image.png",
        "original/mask.png",
        *(f"images/{name}" for name in numbered),
        *(f"masks/{name}" for name in numbered),
    }
    assert all(re.fullmatch(r"[a-z0-9_/.-]+", name) for name in names if name != "README.md")


def test_pairs_are_kept_items_in_order(archive):
    path, _, pair = archive
    kept = [item for item in make_items(pair, 12) if item.kept]
    with zipfile.ZipFile(path) as opened:
        lines = [json.loads(line) for line in opened.read("metadata.jsonl").splitlines()]
        for item, line in zip(kept, lines, strict=True):
            assert (line["index"], line["seed"]) == (item.index, item.seed)
            assert line["verbatim_share"] == item.verbatim_share
            assert (line["candidate"], line["strangeness"]) == (item.candidate, item.strangeness)
            assert line["class_areas"]["background"] == pytest.approx((item.mask_HW == 0).mean())
            with Image.open(io.BytesIO(opened.read(line["file_name"]))) as image:
                assert image.mode == "RGB"
                np.testing.assert_array_equal(np.asarray(image), item.image_HWC)
            with Image.open(io.BytesIO(opened.read(line["mask_file_name"]))) as mask:
                assert mask.mode == "L"
                np.testing.assert_array_equal(np.asarray(mask), item.mask_HW)
        with Image.open(io.BytesIO(opened.read("original/mask.png"))) as original:
            np.testing.assert_array_equal(np.asarray(original), pair.mask_HW)


def test_every_metadata_line_has_the_same_fields_and_types(archive):
    """One schema for the whole file: what imagefolder loaders need."""
    path, _, _ = archive
    with zipfile.ZipFile(path) as opened:
        lines = [json.loads(line) for line in opened.read("metadata.jsonl").splitlines()]
    for line in lines:
        assert list(line) == list(lines[0])
        assert isinstance(line["score"], float)
        assert list(line["distances"]) == ["conv1", "conv2"]


def test_rejected_are_listed_with_reason_and_without_files(archive):
    path, _, _ = archive
    with zipfile.ZipFile(path) as opened:
        lines = [json.loads(line) for line in opened.read("rejected.jsonl").splitlines()]
    assert [line["index"] for line in lines] == [4, 9]
    assert all(line["reason"] == "worst in conv1" for line in lines)
    assert "file_name" not in lines[0]


def test_rejected_files_on_request(tmp_path):
    pair = make_pair()
    path = tmp_path / "set.zip"
    items = make_items(pair, 6)
    write_archive(path, items, pair=pair, manifest={}, include_rejected=True)
    with zipfile.ZipFile(path) as opened:
        line = json.loads(opened.read("rejected.jsonl"))
        assert line["file_name"] == "rejected/images/000000.png"
        assert {line["file_name"], line["mask_file_name"]} <= set(opened.namelist())


def test_manifest_has_the_counts(archive):
    path, _, _ = archive
    with zipfile.ZipFile(path) as opened:
        manifest = json.loads(opened.read("manifest.json"))
    assert manifest == {"seed": 0, "é": "ü", "generated": 12, "kept": 10, "rejected": 2}


def test_grey_sources_give_grey_files(tmp_path):
    pair = make_pair(is_grey=True)
    path = tmp_path / "set.zip"
    write_archive(path, make_items(pair, 2), pair=pair, manifest={})
    with zipfile.ZipFile(path) as opened:
        for name in ("images/000000.png", "original/image.png"):
            with Image.open(io.BytesIO(opened.read(name))) as image:
                assert image.mode == "L"


def test_the_same_items_give_the_same_bytes(archive, tmp_path, monkeypatch):
    path, summary, pair = archive
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    again = tmp_path / "again.zip"
    manifest = {"é": "ü", "seed": 0}  # another order of keys
    repeated = write_archive(again, make_items(pair, 12), pair=pair, manifest=manifest)
    assert repeated.sha256 == summary.sha256
    assert again.read_bytes() == path.read_bytes()


def test_another_pixel_gives_other_bytes(archive, tmp_path):
    _, summary, pair = archive
    items = list(make_items(pair, 12))
    items[0].image_HWC[0, 0] ^= 1
    changed = write_archive(tmp_path / "b.zip", items, pair=pair, manifest={"seed": 0, "é": "ü"})
    assert changed.sha256 != summary.sha256


def test_failure_leaves_the_old_zip_and_no_part(archive):
    path, summary, pair = archive

    def failing() -> Iterator[ExportItem]:
        yield from make_items(pair, 3)
        raise RuntimeError("generation stopped")

    with pytest.raises(RuntimeError, match="generation stopped"):
        write_archive(path, failing(), pair=pair, manifest={})
    assert hashlib.sha256(path.read_bytes()).hexdigest() == summary.sha256
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_numbers_that_are_no_json_are_refused(tmp_path):
    pair = make_pair()
    broken = [dataclasses.replace(next(make_items(pair, 1)), score=float("nan"))]
    with pytest.raises(ValueError, match="JSON"):
        write_archive(tmp_path / "set.zip", broken, pair=pair, manifest={})


def test_memory_does_not_grow_with_the_set(tmp_path):
    pair = make_pair(size=(480, 640))
    item_bytes = pair.image_HWC.nbytes

    def peak(count: int) -> int:
        tracemalloc.start()
        write_archive(tmp_path / "set.zip", make_items(pair, count), pair=pair, manifest={})
        _, peak_bytes = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return peak_bytes

    assert peak(90) - peak(30) < 2 * item_bytes


def test_readme_loads_the_set_with_torch(archive, tmp_path, monkeypatch):
    torch = pytest.importorskip("torch")
    path, _, _ = archive
    with zipfile.ZipFile(path) as opened:
        opened.extractall(tmp_path / "set")
    readme = (tmp_path / "set/README.md").read_text(encoding="utf-8")
    assert "| 1 | coin/x |" in readme
    monkeypatch.chdir(tmp_path / "set")
    names: dict[str, object] = {}
    exec(readme.split("```python\n")[1].split("```")[0], names)
    pairs = names["pairs"]
    assert len(pairs) == 10
    image, mask = pairs[0]
    assert image.shape == (*SIZE, 3)
    assert mask.dtype == torch.int64
