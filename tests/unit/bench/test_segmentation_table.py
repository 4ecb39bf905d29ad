from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from bench.quality.augmented import augmented_samples
from bench.quality.keys import make_run
from bench.tables import segmentation
from osmis_core.data.pair import Pair
from osmis_core.metrics.unet import UnetOptions


def test_a_pair_is_scored_once_for_its_sets(
    bench_folder: Path,
    scene: Pair,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    called: list[str] = []

    def score(pair: str, *sets: list[object]) -> dict[str, list[float]]:
        called.append(pair)
        assert [len(samples) for samples in sets] == [2, 2]
        return {row: [0.5] for row in segmentation.ROWS}

    effort = replace(segmentation.EFFORT, folder=bench_folder / "tables")
    monkeypatch.setattr(segmentation, "EFFORT", effort)
    monkeypatch.setattr(segmentation, "score", score)
    monkeypatch.setattr("sys.argv", ["segmentation", "--pair", "coins"])
    segmentation.main()
    assert "left out" in capsys.readouterr().out
    for method in ("ours", "augmented"):
        snapshot = make_run("coins", method, 0, (segmentation.MINUTES,)).snapshots[-1]
        for part in ("images", "masks"):
            (snapshot.folder / "set" / part).mkdir(parents=True)
        for i in range(2):
            Image.fromarray(scene.image_HWC).save(snapshot.folder / f"set/images/{i}.png")
            Image.fromarray(scene.mask_HW).save(snapshot.folder / f"set/masks/{i}.png")
        (snapshot.folder / "made.json").write_text("{}")
    segmentation.main()
    segmentation.main()
    assert called == ["coins"]
    assert "| ours | 0.500 |" in capsys.readouterr().out


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
    lines = segmentation.table({"coins": {"minutes": 10.0, "miou": scores}}).splitlines()
    assert "| trained on | coins, 10 min |" in lines
    assert lines[-1].startswith("| both, augmented | 0.")


def test_a_pair_whose_set_was_refused_is_left_out(
    bench_folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    effort = replace(segmentation.EFFORT, folder=bench_folder / "tables")
    monkeypatch.setattr(segmentation, "EFFORT", effort)
    monkeypatch.setattr("sys.argv", ["segmentation", "--pair", "coins"])
    for method in ("ours", "augmented"):
        snapshot = make_run("coins", method, 0, (segmentation.MINUTES,)).snapshots[-1]
        snapshot.folder.mkdir(parents=True)
        (snapshot.folder / "made.json").write_text('{"refused": "collapsed"}')
    segmentation.main()
    assert "coins: left out" in capsys.readouterr().out
