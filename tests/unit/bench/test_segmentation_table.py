from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from bench.quality.keys import Snapshot, make_run
from bench.tables import segmentation
from osmis_core.data.pair import Pair
from osmis_core.metrics.unet import UnetOptions


@pytest.fixture
def made_sets(
    bench_folder: Path, scene: Pair, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], tuple[Snapshot, Snapshot]]:
    """Two sets of two pairs each; the tables go to a folder of their own."""
    effort = replace(segmentation.EFFORT, folder=bench_folder / "tables")
    monkeypatch.setattr(segmentation, "EFFORT", effort)
    monkeypatch.setattr(segmentation, "FULL", effort)
    monkeypatch.setattr("sys.argv", ["segmentation", "--pair", "coins"])

    def make() -> tuple[Snapshot, Snapshot]:
        made = []
        for method in ("ours", "augmented"):
            minutes = (segmentation.MINUTES,) if method == "ours" else ()
            snapshot = make_run("coins", method, 0, minutes).snapshots[-1]
            for part in ("images", "masks"):
                (snapshot.folder / "set" / part).mkdir(parents=True)
            for i in range(2):
                Image.fromarray(scene.image_HWC).save(snapshot.folder / f"set/images/{i}.png")
                Image.fromarray(scene.mask_HW).save(snapshot.folder / f"set/masks/{i}.png")
            (snapshot.folder / "made.json").write_text("{}")
            made.append(snapshot)
        return made[0], made[1]

    return make


def test_each_row_of_a_pair_is_scored_once_for_its_sets(
    made_sets: Callable[[], tuple[Snapshot, Snapshot]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    called: list[str] = []

    def score(row: str, pair: str, ours: Snapshot, augmented: Snapshot) -> list[float]:
        if row == "both, augmented" and len(called) < 5:
            called.append("cut off")
            raise KeyboardInterrupt
        called.append(row)
        return [0.5]

    monkeypatch.setattr(segmentation, "score", score)
    segmentation.main()
    assert "left out" in capsys.readouterr().out
    made_sets()
    with pytest.raises(KeyboardInterrupt):
        segmentation.main()
    segmentation.main()
    segmentation.main()
    assert called == [*segmentation.ROWS[:4], "cut off", segmentation.ROWS[4]]
    assert "| ours | 0.500 |" in capsys.readouterr().out


def test_scores_each_training_set_and_lays_them_out(
    made_sets: Callable[[], tuple[Snapshot, Snapshot]], monkeypatch: pytest.MonkeyPatch
) -> None:
    short = UnetOptions(steps=3, short_px=32, width=4, views=2)
    monkeypatch.setattr(segmentation, "UnetOptions", lambda seed: short)
    monkeypatch.setattr(segmentation, "SEEDS", 2)
    ours, augmented = made_sets()
    scores = {row: segmentation.score(row, "coins", ours, augmented) for row in segmentation.ROWS}
    assert all(
        len(values) == 2 and 0 <= min(values) <= max(values) <= 1 for values in scores.values()
    )
    lines = segmentation.table({"coins": {"minutes": 10.0, "miou": scores}}).splitlines()
    assert "| trained on | coins, 10 min |" in lines
    assert lines[-1].startswith("| both, augmented | 0.")


def test_what_the_quality_bench_has_judged_is_not_trained_again(
    made_sets: Callable[[], tuple[Snapshot, Snapshot]], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, augmented = made_sets()
    path = ours.result_path(segmentation.FULL)
    path.parent.mkdir(parents=True)
    judged = {"pairs": segmentation.TAKEN, "repeats": [0.1, 0.2, 0.3]}
    path.write_text(json.dumps({"metrics": {"unet_miou": judged}}))
    assert segmentation.score("ours", "coins", ours, augmented) == [0.1, 0.2, 0.3]


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
