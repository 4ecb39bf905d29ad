from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from bench.quality.keys import make_run
from bench.quality.trained import notes_path, train_snapshots
from osmis_core.data.pair import Pair


def test_one_training_is_kept_at_every_snapshot_and_goes_on(
    bench_folder: Path, scene: Pair
) -> None:
    seconds = (0.5, 2.5)
    run = make_run("coins", "published", 0, tuple(s / 60 for s in seconds))
    run = replace(run, code="x")
    train_snapshots(run, scene, "osmis")
    notes = [json.loads(notes_path(snapshot).read_text()) for snapshot in run.snapshots]
    assert 0 < notes[0]["steps"] < notes[1]["steps"]
    assert 0 < notes[0]["seconds"] < notes[1]["seconds"]
    kept = [snapshot.checkpoint.stat().st_mtime_ns for snapshot in run.snapshots]
    train_snapshots(run, scene, "osmis")
    assert [snapshot.checkpoint.stat().st_mtime_ns for snapshot in run.snapshots] == kept
    run.snapshots[1].checkpoint.unlink()
    train_snapshots(run, scene, "osmis")
    again = json.loads(notes_path(run.snapshots[1]).read_text())
    assert again["steps"] >= notes[1]["steps"], "goes on, and does not begin anew"
