"""A child of the real protocol that follows a script instead of training.

The script stands in the plan: ``steps`` to do, ``step_seconds`` each, a checkpoint every
``checkpoint_every`` steps, and what goes wrong: ``die_at`` (SIGKILL itself), ``fail_at`` (says a
failure), ``hang_at``, ``memory_at``, ``crash_at`` (exit 1), each only while the file ``trouble``
beside the data exists, which it removes first where ``once`` is set. ``warn``: a code that it
warns of before its first step; ``warn_last``: after its last.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from jobs.record import Engine, JobWarning, Phase, Progress
from worker.child import Supervised, supervised
from worker.protocol import (
    Assignment,
    CheckpointReport,
    EngineReport,
    FailureReport,
    PreviewReport,
    ProgressReport,
    SampledReport,
    StoppedReport,
    TrainedReport,
    WarningReport,
)


def main() -> int:
    link = supervised(int(sys.argv[2]))
    assignment = Assignment.model_validate_json(Path(sys.argv[1]).read_bytes())
    script = assignment.plan
    if script.get("spawn"):
        Path(script["pid_file"]).write_text(str(os.getpid()))
    if assignment.work == "train":
        return _train(assignment, script, link)
    return _sample(assignment, link)


def _train(assignment: Assignment, script: dict[str, Any], link: Supervised) -> int:
    engine = Engine(core_version="0", scoring_network="none", scoring_weights_sha256="0" * 64)
    link.say(EngineReport(engine=engine))
    assert (assignment.folder / "image.png").read_bytes() == b"image"
    step = 0
    if assignment.checkpoint is not None:
        step = int((assignment.folder / assignment.checkpoint).read_text())
    _log(script, f"train from {step}{' smaller' if assignment.smaller else ''}")
    if "warn" in script:
        _warn(link, script["warn"])
    while step < script["steps"] and not link.is_finishing:
        if link.is_stopping:
            _checkpoint(assignment, link, step)
            link.say(StoppedReport())
            return 0
        _trouble(script, step, link)
        time.sleep(script.get("step_seconds", 0.01))
        step += 1
        progress = Progress(step=step, total=script["steps"], fraction=step / script["steps"])
        link.say(ProgressReport(phase=Phase.TRAINING, progress=progress))
        if step % script.get("checkpoint_every", 10) == 0:
            _checkpoint(assignment, link, step)
    if "warn_last" in script:
        _warn(link, script["warn_last"])
    _checkpoint(assignment, link, step, final=True)
    link.say(TrainedReport(metrics={"steps": step}))
    return 0


def _warn(link: Supervised, code: str) -> None:
    link.say(WarningReport(warning=JobWarning(code=code, detail="as told")))


def _checkpoint(assignment: Assignment, link: Supervised, step: int, final: bool = False) -> None:
    file = f"checkpoint-{step:08d}.safetensors"
    partial = assignment.folder / f"{file}.partial"  # whole or not at all, as the trainer writes
    partial.write_text(str(step))
    partial.replace(assignment.folder / file)
    link.say(CheckpointReport(file=file, step=step, final=final))
    (assignment.folder / f"preview-{step:08d}.png").write_bytes(b"png")
    link.say(PreviewReport(file=f"preview-{step:08d}.png"))


def _trouble(script: dict[str, Any], step: int, link: Supervised) -> None:
    trouble = Path(script.get("trouble", "/nonexistent"))
    if step != script.get("trouble_at") or not trouble.exists():
        return
    kind = trouble.read_text()
    if script.get("once", True):
        trouble.unlink()
    if kind == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    elif kind == "segfault":
        os.kill(os.getpid(), signal.SIGSEGV)
    elif kind == "crash":
        print("a traceback", file=sys.stderr)
        sys.exit(1)
    elif kind == "hang":
        time.sleep(600)
    else:
        is_memory = kind == "memory"
        again = kind == "disk_full"
        link.say(
            FailureReport(
                code=kind, detail="as told", hint="ask less", memory=is_memory, again=again
            )
        )
        sys.exit(0)


def _sample(assignment: Assignment, link: Supervised) -> int:
    assert assignment.request is not None
    assert assignment.checkpoint is not None
    step = (assignment.folder / assignment.checkpoint).read_text()
    _log(assignment.plan, f"sample from {step}")
    for phase in (Phase.GENERATING, Phase.REFINING, Phase.SCORING, Phase.PACKING):
        link.say(ProgressReport(phase=phase, progress=Progress(step=1, total=1, fraction=1.0)))
        time.sleep(assignment.plan.get("phase_seconds", 0.0))
        if link.is_stopping:
            link.say(StoppedReport())
            return 0
    archive = assignment.folder / "archive.zip"
    archive.write_bytes(b"archive of " + step.encode())
    (assignment.folder / "items.json").write_text(json.dumps([{"seed": 0}]))
    (assignment.folder / "sheet.jpg").write_bytes(b"jpeg")
    n = assignment.request.n
    link.say(
        SampledReport(
            archive="archive.zip",
            items="items.json",
            sheet="sheet.jpg",
            sha256=hashlib.sha256(archive.read_bytes()).hexdigest(),
            size_bytes=archive.stat().st_size,
            generated=n,
            kept=n,
            rejected=0,
            metrics={"made": n},
        )
    )
    return 0


def _log(script: dict[str, Any], line: str) -> None:
    if "log" in script:
        with Path(script["log"]).open("a") as log:
            log.write(line + "\n")


if __name__ == "__main__":
    sys.exit(main())
