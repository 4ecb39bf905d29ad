"""Resident memory while generating 10 000 samples, and while making a whole set: it must be flat.

    python -m bench.memory                        # 10 000 samples; a set of 2 000
    python -m bench.memory --set-samples 10000    # the largest set that can be asked for

The generator is untrained, at the training size of the coins pair (64×80 pixels): what it draws
does not matter to memory. The set is made without refinement, for time; its other stages run over
all samples: drawing to files, resizing, scoring on VGG-16, packing the zip. Growth is the resident
size at the end less that after the first tenth of the samples, of each stage.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

import torch

from bench.measurement import ROOT, report
from osmis_core.data.pair import Pair
from osmis_core.data.plan import TrainingOptions, plan_training
from osmis_core.data.reader import read_pair
from osmis_core.generation import Sampler
from osmis_core.models.generator import Generator
from osmis_core.sample_set import SampleSetRequest, make_sample_set
from osmis_core.training.checkpoint import Checkpoint
from osmis_core.training.config import config_from_plan

BAR_MB = 20.0
WARM_SHARE = 10
STATM = Path("/proc/self/statm")


def main() -> int:
    """Measures both; fails when one grows by more than the bar."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--set-samples", type=int, default=2_000)
    chosen = parser.parse_args()
    if not STATM.exists():
        raise SystemExit("bench.memory reads resident memory from /proc, which only Linux has.")
    folder = ROOT / "examples" / "coins"
    pair = read_pair(folder / "image.png", folder / "mask.png")
    with tempfile.TemporaryDirectory() as scratch:
        checkpoint = untrained_checkpoint(pair, Path(scratch))
        growths = [
            generate(checkpoint, chosen.samples),
            make_set(pair, checkpoint, chosen.set_samples, Path(scratch)),
        ]
    return int(max(growths) > BAR_MB)


def untrained_checkpoint(pair: Pair, folder: Path) -> Path:
    """A checkpoint of a generator that has learned nothing."""
    torch.manual_seed(0)
    config = config_from_plan(pair, plan_training(pair, TrainingOptions(), has_gpu=False))
    weights = Generator(config.generator).state_dict()
    path = folder / "untrained.safetensors"
    tensors = {f"average.{name}": value for name, value in weights.items()}
    Checkpoint(step=0, config=config, tensors=tensors, extra={}).write(path)
    return path


def resident_mb() -> float:
    """Resident memory of this process, MB."""
    pages = int(STATM.read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def generate(checkpoint: Path, samples: int) -> float:
    """Streams samples from a checkpoint; prints and returns the growth in MB."""
    sampler = Sampler(checkpoint, "cpu")
    every = max(1, samples // WARM_SHARE)
    seen: dict[int, float] = {}
    began = time.perf_counter()
    for done, _ in enumerate(sampler.sample(0, range(samples)), 1):
        if done % every == 0:
            seen[done] = round(resident_mb(), 1)
    return tell("generating", samples, {"generating": seen}, time.perf_counter() - began)


def make_set(pair: Pair, checkpoint: Path, samples: int, folder: Path) -> float:
    """Makes a set without refinement; prints and returns the largest growth of a stage in MB."""
    every = max(1, samples // WARM_SHARE)
    seen: dict[str, dict[int, float]] = {}

    def on_stage(stage: str, done: int, _total: int) -> None:
        if done and done % every == 0:
            seen.setdefault(stage, {})[done] = round(resident_mb(), 1)

    began = time.perf_counter()
    make_sample_set(
        pair,
        checkpoint,
        SampleSetRequest(n=samples, refine=False, device="cpu"),
        folder / "set.zip",
        on_stage=on_stage,
        should_stop=lambda: False,
    )
    return tell("whole set, no refinement", samples, seen, time.perf_counter() - began)


def tell(what: str, samples: int, seen: dict[str, dict[int, float]], seconds: float) -> float:
    """Prints the lines of one measurement; returns the largest growth of a stage in MB."""
    growth = {stage: max(at.values()) - next(iter(at.values())) for stage, at in seen.items()}
    stage, most = max(growth.items(), key=lambda item: item[1])
    highest = max(value for at in seen.values() for value in at.values())
    within = f" while {stage}" if len(seen) > 1 else ""
    report(
        f"memory, {what}: {samples} samples in {seconds:.0f} s grow it by {most:.1f} MB at most"
        f"{within} after the first tenth (bar {BAR_MB:g} MB); {highest:.0f} MB at its highest",
        bench="memory",
        what=what,
        samples=samples,
        seconds=round(seconds, 1),
        growth_mb={stage: round(value, 1) for stage, value in growth.items()},
        resident_mb=seen,
        bar_mb=BAR_MB,
    )
    return most


if __name__ == "__main__":
    raise SystemExit(main())
