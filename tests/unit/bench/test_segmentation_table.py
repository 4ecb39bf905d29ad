from __future__ import annotations

import os
from pathlib import Path

import pytest

from bench.quality.augmented import augmented_samples
from bench.tables import segmentation
from osmis_core.data.pair import Pair
from osmis_core.metrics.unet import UnetOptions


def _made(place: Path, name: str, age_s: float) -> Path:
    place.mkdir(parents=True)
    made = place / "made.json"
    made.write_text("{}")
    os.utime(made, (1e9 - age_s, 1e9 - age_s))
    (place / name).touch()
    return place / name


def test_takes_the_longest_snapshot_of_the_newest_training(tmp_path: Path) -> None:
    assert segmentation.newest_set("coins", "ours", tmp_path) is None
    _made(tmp_path / "coins-ours-s0-m3-m10-old" / "t10-x", "set.zip", 100)
    longest = _made(tmp_path / "coins-ours-s0-m3-m10-new" / "t10-x", "set.zip", 50)
    _made(tmp_path / "coins-ours-s0-m3-m10-new" / "t3-x", "set.zip", 20)
    assert segmentation.newest_set("coins", "ours", tmp_path) == longest


def test_scores_each_training_set_and_lays_them_out(
    bench_folder: Path,
    scene: Pair,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    short = UnetOptions(steps=3, short_px=32, width=4, views=2)
    monkeypatch.setattr(segmentation, "UnetOptions", lambda seed: short)
    monkeypatch.setattr(segmentation, "SEEDS", 2)
    augmented = list(augmented_samples(scene, 0, 3))
    scores = segmentation.score("coins", augmented, augmented)
    assert list(scores) == list(segmentation.ROWS)
    assert all(
        len(values) == 2 and 0 <= min(values) <= max(values) <= 1 for values in scores.values()
    )
    lines = segmentation.table({"coins": scores}).splitlines()
    assert lines[3] == "| trained on | coins |"
    assert lines[-1].startswith("| ours and augmented | 0.")
