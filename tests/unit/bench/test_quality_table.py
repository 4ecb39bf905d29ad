from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bench.quality.table import mean_and_error, read_results, tables, troubles


def result(**changes: Any) -> dict[str, Any]:
    return {
        "pair": "coins",
        "method": "ours",
        "seed": 0,
        "minutes": 3.0,
        "planned_minutes": 10.0,
        "measured_at": "2026-01-01T00:00:00+00:00",
        "made": {"seconds_a_sample": 0.5, "training": {"steps": 700}},
        "metrics": {
            "unet_miou": {"mean": 0.8},
            "lpips_diversity": {"mean": 0.3},
            "layout_iou": None,
            "novel_share": 0.5,
            "classes": {"fault_share": 0.0},
            "verbatim_share": None,
            "image_distance": {"layers": {"conv1_2": 0.01}},
        },
        **changes,
    }


def test_means_carry_their_standard_error() -> None:
    assert mean_and_error([0.7, 0.9], "{:.2f}") == "0.80 ± 0.10"
    assert mean_and_error([0.7, None], "{:.2f}") == "0.70"
    assert mean_and_error([None], "{:.2f}") == "–"


def test_a_row_takes_in_all_seeds_of_one_snapshot() -> None:
    short = result(minutes=10.0)
    lines = tables([result(), result(seed=1), short])["coins"]
    assert len(lines) == 4
    assert lines[2].startswith("| ours | 3 of 10 | 2 | 700 ± 0 | 0.800 ± 0.000 |")
    assert lines[3].startswith("| ours | 10 | 1 | 700 | 0.800 |")


def test_a_refused_set_keeps_its_row_and_says_why() -> None:
    refused = result(metrics=None, made={"seconds_a_sample": 0.1, "refused": "collapsed"})
    assert "| – | – |" in tables([refused])["coins"][2]
    assert troubles([refused]) == ["- coins, ours, 3 minutes, seed 0: collapsed"]


def test_the_newest_result_of_a_snapshot_counts(tmp_path: Path) -> None:
    newer = result(measured_at="2026-02-01T00:00:00+00:00", judged=24)
    for name, value in (("a", newer), ("b", result())):
        (tmp_path / f"{name}.json").write_text(json.dumps(value))
    assert read_results(tmp_path) == [newer]
