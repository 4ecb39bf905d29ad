"""Measures a set against its source with the project's own evaluation, the same way for all."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.quality.keys import Snapshot, core_commit
from bench.quality.setup import PAIRS, Effort
from osmis_core.evaluation import EvaluationOptions, evaluate


def measure(snapshot: Snapshot, place: Path | None, effort: Effort) -> dict[str, Any]:
    """All measurements of one set, kept in a file; measured once a set, code and effort.

    Args:
        snapshot: what is measured; its ``made.json`` is there.
        place: its set; None where the method refused to make one, and nothing can be measured.
        effort: how thoroughly.

    Returns:
        JSON-able; ``metrics`` as ``osmis_core.evaluation`` gives them, or None.
    """
    path = snapshot.result_path(effort)
    if path.exists():
        return dict(json.loads(path.read_text()))
    run = snapshot.run
    result: dict[str, Any] = {
        "pair": run.pair,
        "method": run.method,
        "variant": run.variant,
        "seed": run.seed,
        "minutes": snapshot.minutes,
        "planned_minutes": run.planned,
        "codes": [run.code, run.set_code],
        "osmis_core": core_commit(),
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "made": json.loads((snapshot.folder / "made.json").read_text()),
        **(_measurements(snapshot, place, effort) if place else {"judged": 0, "metrics": None}),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    partial.replace(path)
    return result


def _measurements(snapshot: Snapshot, place: Path, effort: Effort) -> dict[str, Any]:
    image, mask = PAIRS[snapshot.run.pair]
    options = EvaluationOptions(
        limit=effort.judged,
        unet=snapshot.is_last,  # by far the longest part
        unet_repeats=effort.unet_repeats,
    )
    report = evaluate(place, image, mask, options)
    return {
        "judged": report["set"]["judged"],
        "metrics": report["metrics"],
        "not_measured": report["not_measured"],
    }
