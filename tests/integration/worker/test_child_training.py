"""What the child tells of a real, tiny training in which something goes wrong."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch

from osmis_core.data.plan import TrainingOptions, plan_training
from osmis_core.data.reader import read_pair
from osmis_core.data.storage import save_normalised
from osmis_core.errors import TrainingError
from osmis_core.training import collapse, health
from osmis_core.training.checkpoint import Checkpoint
from osmis_core.training.step import Optimisation, StepLosses
from worker.child_work import is_memory_error, train
from worker.protocol import (
    Assignment,
    CheckpointReport,
    PreviewReport,
    ProgressReport,
    Report,
    StoppedReport,
    TrainedReport,
    WarningReport,
)

COINS = Path(__file__).parents[3] / "examples" / "coins"


@dataclass
class Link:
    """The supervisor's end, which asks to finish at a step."""

    finish_at: int | None = None
    reports: list[Report] = field(default_factory=list)
    is_stopping: bool = False

    def say(self, report: Report) -> None:
        self.reports.append(report)

    @property
    def is_finishing(self) -> bool:
        steps = [r.progress.step for r in self.reports if isinstance(r, ProgressReport)]
        return self.finish_at is not None and max(steps, default=0) >= self.finish_at

    def of(self, kind: type) -> list:
        return [report for report in self.reports if isinstance(report, kind)]


@pytest.fixture
def assignment(tmp_path: Path) -> Assignment:
    pair = read_pair(COINS / "image.png", COINS / "mask.png")
    save_normalised(pair, tmp_path)
    options = TrainingOptions(method="osmis", iterations=6, max_size=48)
    plan = plan_training(pair, options, has_gpu=False).to_dict()
    return Assignment(
        work="train", folder=tmp_path, plan=plan, device="cpu", checkpoint_seconds=0.001
    )


def test_a_rollback_is_a_warning_and_overwrites_no_checkpoint(
    assignment: Assignment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names are keys in the object store, and what is published under a key never changes."""
    real, spoiled = Optimisation.run, []

    def run(optimisation: Optimisation, step: int) -> StepLosses:
        losses = real(optimisation, step)
        if step + 1 == 5 and not spoiled:
            spoiled.append(step)
            losses.generator.fill_(float("nan"))
        return losses

    monkeypatch.setattr(health, "SNAPSHOT_STEPS", 2)
    monkeypatch.setattr(Optimisation, "run", run)
    link = Link()
    train(assignment, link)  # type: ignore[arg-type]
    (said,) = link.of(WarningReport)
    assert said.warning.code == "rolled_back"
    assert said.warning.hint
    *_, final = checkpoints = link.of(CheckpointReport)
    # the last one is said twice: when it is written, and as the final one
    files = [report.file for report in checkpoints[:-1]]
    assert len(files) == len(set(files))
    steps = [report.step for report in checkpoints[:-1]]
    assert steps == [1, 2, 3, 4, 2, 3, 4, 5, 6]
    for report in checkpoints:
        assert Checkpoint.read(assignment.folder / report.file).step == report.step
    previews = [report.file for report in link.of(PreviewReport)]
    assert len(previews) == len(set(previews)) == len(files)
    assert final.final
    assert link.of(TrainedReport)


@pytest.fixture
def _one_class(monkeypatch: pytest.MonkeyPatch) -> None:
    """Has every step leave an average that makes masks of one class."""
    real = Optimisation.run

    def run(optimisation: Optimisation, step: int) -> StepLosses:
        losses = real(optimisation, step)
        average = optimisation.networks.average
        with torch.no_grad():
            average.mask_head.weight.zero_()
            average.mask_head.bias.copy_(torch.arange(average.config.class_count).float())
        return losses

    monkeypatch.setattr(Optimisation, "run", run)


@pytest.mark.usefixtures("_one_class")
def test_who_finishes_a_collapsed_training_gets_an_error(
    assignment: Assignment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collapse, "LEARNED_FROM_STEP", 1)
    with pytest.raises(TrainingError) as caught:
        train(assignment, Link(finish_at=1))  # type: ignore[arg-type]
    assert caught.value.code == "collapsed"
    assert caught.value.hint


@pytest.mark.usefixtures("_one_class")
@pytest.mark.parametrize("finish_at", [1, None])
def test_one_that_was_too_short_to_be_judged_ends_with_a_warning(
    finish_at: int | None, assignment: Assignment
) -> None:
    link = Link(finish_at=finish_at)
    train(assignment, link)  # type: ignore[arg-type]
    (said,) = link.of(WarningReport)
    assert said.warning.code == "undertrained"
    assert said.warning.hint
    assert link.of(CheckpointReport)[-1].final
    assert link.of(TrainedReport)


@pytest.mark.usefixtures("_one_class")
def test_one_that_is_stopped_and_will_go_on_is_not_warned_of(assignment: Assignment) -> None:
    link = Link(is_stopping=True)
    train(assignment, link)  # type: ignore[arg-type]
    assert link.of(StoppedReport)
    assert not link.of(WarningReport)


def test_a_full_disk_is_told_and_worth_another_attempt(assignment: Assignment) -> None:
    """A real child that may write no more than a few kilobytes into a file."""
    path = assignment.folder / "assignment.json"
    path.write_text(assignment.model_dump_json())

    def no_room() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    with subprocess.Popen(
        [sys.executable, "-m", "worker.child", str(path), str(os.getpid())],
        stdin=subprocess.PIPE,  # open as long as its supervisor lives
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        preexec_fn=no_room,
    ) as child:
        assert child.stdout is not None
        told = json.loads(child.stdout.readlines()[-1])
        assert child.wait(60) == 0
    assert (told["type"], told["code"], told["again"]) == ("failure", "disk_full", True)
    assert not list(assignment.folder.glob("checkpoint-*.safetensors"))


def hidden(error: Exception) -> Exception:
    """As the end of a recording hides what ended it."""
    try:
        try:
            raise error
        except type(error):
            raise RuntimeError("the capture was invalidated")  # noqa: B904
    except RuntimeError as outer:
        return outer


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (hidden(torch.OutOfMemoryError("CUDA out of memory")), True),
        (RuntimeError("shapes don't match"), False),
        (hidden(ValueError("out of range")), False),
        (ValueError("out of memory of what a value may be"), False),
    ],
)
def test_want_of_memory_is_recognised_also_behind_another_error(
    error: Exception, expected: bool
) -> None:
    assert is_memory_error(error) == expected
