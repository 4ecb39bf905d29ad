from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.quality import evaluate, jobs, make
from bench.quality.keys import (
    MADE_BY,
    MEASURED_BY,
    TRAINED_BY,
    Run,
    core_commit,
    make_run,
    measure_hash,
)
from bench.quality.setup import METHODS, PAIRS, Effort, Method


@pytest.fixture
def code(tmp_path: Path) -> Path:
    """A repository with every file that some key names."""
    root = tmp_path / "main"
    parts = {part for by in (TRAINED_BY, MADE_BY) for named in by.values() for part in named}
    for part in parts | set(MEASURED_BY):
        path = root / part if part.endswith(".py") else root / part / "part.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"# {part}\n")
    return root


def keyed(code: Path) -> dict[Method, Run]:
    return {method: make_run("coins", method, 0, (3.0, 10.0), root=code) for method in METHODS}


def changed(before: dict[Method, Run], after: dict[Method, Run], name: str) -> set[str]:
    return {method for method in METHODS if vars(before[method])[name] != vars(after[method])[name]}


@pytest.mark.parametrize(
    ("file", "trains_anew", "makes_anew", "measures_anew"),
    [
        ("osmis_core/training/part.py", {"ours", "published"}, set(), False),
        ("osmis_core/losses.py", {"ours", "published"}, set(), False),
        ("osmis_core/refinement/part.py", set(), {"ours", "patches", "copy_paste"}, False),
        ("osmis_core/curation.py", set(), {"ours"}, False),
        ("osmis_core/screening.py", set(), {"ours"}, False),
        ("osmis_core/generation.py", set(), {"ours", "published"}, False),
        ("osmis_core/evaluation/part.py", set(), set(), True),
        ("bench/quality/augmented.py", set(), {"augmented"}, False),
        ("bench/quality/prototype.py", {"prototype"}, {"prototype"}, False),
    ],
)
def test_a_change_reaches_what_it_decides_and_nothing_else(
    code: Path, file: str, trains_anew: set[str], makes_anew: set[str], measures_anew: bool
) -> None:
    before, measured = keyed(code), measure_hash(code)
    (code / file).write_text("changed = True\n")
    after = keyed(code)
    assert changed(before, after, "code") == trains_anew
    assert changed(before, after, "set_code") == makes_anew
    assert (measure_hash(code) != measured) is measures_anew


def test_what_no_key_names_changes_nothing(code: Path) -> None:
    before, measured = keyed(code), measure_hash(code)
    (code / "service").mkdir()
    (code / "service/app.py").write_text("other = 1\n")
    (code / "osmis_core/export").mkdir()
    (code / "osmis_core/export/part.py").write_text("other = 1\n")
    assert keyed(code) == before
    assert measure_hash(code) == measured


def test_a_redrawn_mask_is_another_pair(
    code: Path, scene_files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = keyed(code)
    monkeypatch.setitem(PAIRS, "coins", scene_files)
    assert changed(before, keyed(code), "code") == set(METHODS)


def test_a_snapshot_belongs_to_its_planned_length(code: Path) -> None:
    long = make_run("coins", "ours", 0, (10.0, 3.0), root=code)
    short = make_run("coins", "ours", 0, (3.0,), root=code)
    assert [snapshot.minutes for snapshot in long.snapshots] == [3.0, 10.0]
    assert long.folder != short.folder
    assert long.snapshots[0].name != short.snapshots[0].name
    assert make_run("coins", "patches", 0, (3.0,), root=code).planned == 0


def test_names_the_commit_and_whether_it_was_changed(code: Path) -> None:
    def git(*words: str) -> None:
        who = ("-c", "user.name=t", "-c", "user.email=t@example.org")
        subprocess.run(["git", "-C", str(code), *who, *words], check=True, capture_output=True)

    git("init")
    git("add", ".")
    git("commit", "-m", "all")
    commit = core_commit(code)
    assert commit is not None
    assert not commit.endswith("+")
    (code / "osmis_core/losses.py").write_text("changed = True\n")
    assert core_commit(code) == commit + "+"


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Counts sets made and measured; the measuring itself is left out."""
    counts = {"made": 0, "measured": 0}
    make_samples = make.WITHOUT_TRAINING["augmented"]

    def samples(*arguments: Any) -> Any:
        counts["made"] += 1
        return make_samples(*arguments)

    def measurements(*_: Any) -> dict[str, Any]:
        counts["measured"] += 1
        metrics = {"image_distance": {"name": "d", "layers": {}}}
        return {"set": {"judged": 2}, "metrics": metrics, "not_measured": {}}

    monkeypatch.setattr(make, "SAMPLES", 2)
    monkeypatch.setitem(make.WITHOUT_TRAINING, "augmented", samples)
    monkeypatch.setattr(evaluate, "evaluate", measurements)
    return counts


def test_does_again_only_what_changed(bench_folder: Path, counted: dict[str, int]) -> None:
    effort = Effort(judged=2, unet_repeats=1, folder=bench_folder / "docs")
    run = make_run("coins", "augmented", 0, ())
    for _ in range(2):
        jobs.work(run, effort, "all")
    assert counted == {"made": 1, "measured": 1}
    jobs.work(run, replace(effort, unet_repeats=3), "all")
    assert counted == {"made": 1, "measured": 2}
    jobs.work(replace(run, seed=1), effort, "all")
    assert counted == {"made": 2, "measured": 3}
    jobs.work(replace(run, set_code="another"), effort, "all")
    assert counted == {"made": 3, "measured": 4}
    results = sorted((bench_folder / "docs/results").glob("*.json"))
    assert len(results) == 4
    assert json.loads(results[0].read_text())["osmis_core"] == core_commit()
    assert len(list((bench_folder / "docs/sheets").glob("*.jpg"))) == 2


@pytest.mark.parametrize(
    ("method", "minutes", "unets"),
    [("ours", (3.0, 10.0), [False, True]), ("augmented", (), [True])],
)
def test_unets_are_trained_on_what_a_training_has_come_to_at_its_end(
    method: Method,
    minutes: tuple[float, ...],
    unets: list[bool],
    bench_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[bool] = []

    def measurements(*arguments: Any) -> dict[str, Any]:
        asked.append(arguments[3].unet)
        return {"set": {"judged": 2}, "metrics": {}, "not_measured": {}}

    monkeypatch.setattr(evaluate, "evaluate", measurements)
    effort = Effort(judged=2, unet_repeats=3, folder=bench_folder / "docs")
    for snapshot in make_run("coins", method, 0, minutes).snapshots:
        snapshot.folder.mkdir(parents=True)
        (snapshot.folder / "made.json").write_text("{}")
        evaluate.measure(snapshot, snapshot.folder / "set.zip", effort)
    assert asked == unets


def test_a_broken_off_set_is_made_again(bench_folder: Path, counted: dict[str, int]) -> None:
    run = make_run("coins", "augmented", 0, ())
    folder = run.snapshots[0].folder
    (folder / "set/images").mkdir(parents=True)
    (folder / "set/images/999999.png").write_bytes(b"half")
    make.make_sets(run)
    assert counted["made"] == 1
    assert len(list((folder / "set/images").iterdir())) == 2
