"""Makes one method's set of one pair: ``<folder>/set.zip`` or ``<folder>/set/``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from PIL import Image

from bench.quality.augmented import augmented_samples
from bench.quality.setup import PAIRS, PROTOTYPE, SHARED, Run, load_pair
from osmis_core.data.plan import TrainingOptions, plan_training
from osmis_core.sample_set import SampleSetRequest, make_sample_set
from osmis_core.training.checkpoint import Checkpoint
from osmis_core.training.config import config_from_plan
from osmis_core.training.hooks import Progress, TrainingWarning
from osmis_core.training.trainer import RunOptions, train

SAMPLES = 100
PROTOTYPE_REFINED = 12
"""The prototype refines a sample in 4–20 s; equal counts are judged on every side."""

PROTOTYPE_SIZES = {"coins": (64, 80), "coffee": (64, 96), "davis": (64, 112)}
PROTOTYPE_SWITCHES = {
    "coins": ["--ch", "0.5"],
    "coffee": ["--ch", "0.5"],
    "davis": [
        *("--ch", "0.5", "--mbstd", "1", "--leak", "0.5", "--spatial", "1"),
        *("--dr", "1.0", "--p0", "1500"),
    ],
}


THREADS = 1
"""Of training, for both sides: on two cores two trainings run side by side without interference."""


def set_of(run: Run) -> Path | None:
    """The finished set of a run, if there is one."""
    for name in ("set.zip", "set"):
        if (run.folder / "made.json").exists() and (run.folder / name).exists():
            return run.folder / name
    return None


def make_set(run: Run) -> Path:
    """Trains and samples; does nothing when the set is there already."""
    finished = set_of(run)
    if finished is not None:
        print(f"{run.key}: there already")
        return finished
    run.folder.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    makers = {"ours": _ours, "prototype": _prototype, "augmented": _augmented}
    notes = makers[run.method](run)
    notes["seconds"] = round(time.monotonic() - began, 1)
    (run.folder / "made.json").write_text(json.dumps(notes, indent=1) + "\n")
    place = set_of(run)
    assert place is not None
    print(f"{run.key}: made in {notes['seconds']} s")
    return place


def _augmented(run: Run) -> dict[str, object]:
    folder = run.folder / "set"
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for i, (image_HWC, mask_HW) in enumerate(augmented_samples(load_pair(run.pair), run.seed)):
        Image.fromarray(image_HWC).save(folder / "images" / f"{i:06d}.png")
        Image.fromarray(mask_HW).save(folder / "masks" / f"{i:06d}.png")
    return {"samples": SAMPLES}


class _Hooks:
    """Keeps the newest checkpoint; stops when the minutes are over, as the prototype does."""

    def __init__(self, folder: Path, minutes: float) -> None:
        self.path = folder / "checkpoint.safetensors"
        self._deadline = time.monotonic() + 60 * minutes
        self._told = 0.0

    def on_progress(self, progress: Progress) -> None:
        """Prints a line every half minute."""
        if time.monotonic() - self._told > 30:
            self._told = time.monotonic()
            print(f"  step {progress.step} of {progress.total}", flush=True)

    def should_stop(self) -> bool:
        """When the minutes are over, whatever was planned."""
        return time.monotonic() > self._deadline

    def save_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Replaces the one before."""
        checkpoint.write(self.path)

    def on_warning(self, warning: TrainingWarning) -> None:
        """Prints it."""
        print(f"  {warning.code}: {warning.detail}", flush=True)


def _tell(stage: str, done: int, total: int) -> None:
    if done == total:
        print(f"  {stage}: {total}", flush=True)


def _ours(run: Run) -> dict[str, object]:
    pair = load_pair(run.pair)
    options = TrainingOptions(max_runtime_seconds=round(run.minutes * 60), seed=run.seed)
    plan = plan_training(pair, options, has_gpu=False)
    hooks = _Hooks(run.folder, run.minutes)
    result = train(pair, config_from_plan(pair, plan), hooks, options=RunOptions(threads=THREADS))
    trained = time.monotonic()
    request = SampleSetRequest(
        n=SAMPLES, seed=run.seed, output_h=plan.output_h, output_w=plan.output_w
    )
    made = make_sample_set(
        pair,
        hooks.path,
        request,
        run.folder / "set.zip",
        on_stage=_tell,
        should_stop=lambda: False,
    )
    return {
        "steps": result.step,
        "training_seconds": round(result.seconds, 1),
        "set_seconds": round(time.monotonic() - trained, 1),
        "metrics": made.metrics,
    }


def _prototype(run: Run) -> dict[str, object]:
    """Runs the prototype as it is; only the count of its last samples is set to 100."""
    scripts = PROTOTYPE
    image, mask = PAIRS[run.pair]
    height, width = PROTOTYPE_SIZES[run.pair]
    source = (scripts / "coarse_gan.py").read_text()
    # 100 samples and no intermediate ones, which would cost training time; minutes of one
    # processor, so that other work on the machine costs it nothing
    changes = {
        "time.time()": "time.process_time()",
        "E(Z(32))": f"E(Z({SAMPLES}))",
        "range(32)": f"range({SAMPLES})",
        "save(f't{int(nxt):04d}'); ": "",
    }
    for old, new in changes.items():
        if old not in source:
            raise SystemExit(f"The prototype changed: {old} is gone.")
        source = source.replace(old, new)
    source = f"import torch\ntorch.set_num_threads({THREADS})\n{source}"
    script = run.folder / "coarse_gan.py"
    script.write_text(source)
    environment = {**os.environ, "PYTHONPATH": str(SHARED / "bench")}
    pair_arguments = ["--image", str(image), "--mask", str(mask)]
    coarse = run.folder / "coarse"
    train_arguments = [
        *("--height", str(height), "--width", str(width), "--minutes", str(run.minutes)),
        *("--seed", str(run.seed), "--out", str(coarse)),
        *PROTOTYPE_SWITCHES[run.pair],
    ]
    refine_arguments = [
        *("--set", str(coarse / "final"), "--out", str(run.folder / "set")),
        *("--n", str(PROTOTYPE_REFINED)),
    ]
    began = time.monotonic()
    subprocess.run(
        [sys.executable, str(script), *pair_arguments, *train_arguments],
        check=True,
        env=environment,
    )
    trained = time.monotonic()
    subprocess.run(
        [sys.executable, str(scripts / "refine.py"), *pair_arguments, *refine_arguments],
        check=True,
        env=environment,
        stdout=subprocess.DEVNULL,
    )
    return {
        "training_seconds": round(trained - began, 1),
        "set_seconds": round(time.monotonic() - trained, 1),
        "samples": PROTOTYPE_REFINED,
    }
