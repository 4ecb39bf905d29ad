"""The small form of the paper's tables: what is trained, and how a row reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench.quality.setup import Effort, load_pair
from bench.quality.trained import plan_of
from bench.tables import report
from bench.tables.setup import TABLE_3, TABLE_4, default_blocks, run_of


def test_rows_of_both_tables_that_ask_for_the_same_are_one_training() -> None:
    blocks = default_blocks("coins")
    mca = next(row for row in TABLE_3 if row.supervision == "mca")
    same = next(row for row in TABLE_4 if row.low_level_blocks == blocks)
    assert run_of("coins", mca, 0) == run_of("coins", same, 0)
    runs = {run_of("coins", row, 0) for row in (*TABLE_3, *TABLE_4)}
    assert len(runs) == len({run.folder for run in runs}) == len(TABLE_3) + len(TABLE_4) - 1


@pytest.mark.parametrize("row", [*TABLE_3, *TABLE_4], ids=lambda row: row.name)
def test_every_row_is_planned_as_it_says(row: Any) -> None:
    run = run_of("coins", row, 0)
    pair = load_pair("coins", has_mask=row.supervision != "none")
    plan = plan_of(run, pair, "osmis")
    assert plan.mask_supervision == row.supervision
    assert plan.low_level_blocks == (row.low_level_blocks or default_blocks("coins"))
    assert plan.training_seconds == 360
    assert min(plan.size.content_h, plan.size.content_w) == 64


def test_rows_say_what_was_measured_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    effort = Effort(judged=24, unet_repeats=3, folder=tmp_path)
    monkeypatch.setattr(report, "EFFORT", effort)
    (tmp_path / "results").mkdir()
    for row in TABLE_3[:3]:
        run = run_of("coins", row, 0)
        result: dict[str, Any] = {
            "pair": "coins",
            "method": run.method,
            "variant": run.variant,
            "seed": 0,
            "minutes": 6.0,
            "planned_minutes": 6.0,
            "osmis_core": "abc",
            "codes": [run.code, run.set_code],
            "measured_at": "2026-01-01T00:00:00+00:00",
            "made": {"training": {"steps": 900}},
            "metrics": {
                "image_distance": {"layers": {"conv1_2": 0.25}},
                "lpips_diversity": {"mean": 0.3},
                "unet_miou": {"mean": 0.5},
            },
        }
        if row is TABLE_3[2]:
            result["codes"] = ["older", run.set_code]
        if row is TABLE_3[1]:
            result["made"]["training"]["trouble"] = "diverged"
        (tmp_path / "results" / f"{run.variant}.json").write_text(json.dumps(result))
    lines = report.write_report().splitlines()
    none = next(line for line in lines if line.startswith("| none"))
    projection = next(line for line in lines if line.startswith("| projection"))
    assert none.split(" | ")[1:5] == ["0.25", "0.300", "–", "900"]
    assert projection.split(" | ")[1:5] == ["0.25", "0.300", "0.500", "900"]
    older = next(line for line in lines if line.startswith("| input_concat"))
    assert older.split(" | ")[1:5] == ["–", "–", "–", "–"]
    assert any(line.startswith("- coins, published projection") for line in lines)
    assert (tmp_path / "table.md").read_text() == report.write_report()
