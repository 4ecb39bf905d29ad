"""One training step, ours against the yardsticks, one after the other in the same minute.

    python -m bench.step                          # every row, three pairs of runs each
    python -m bench.step --row osmis-128x256 --pairs 5

The published method is timed beside ``paper_step.py`` (the same layer shapes, done the plain way,
without augmentation), the method on frozen features beside the prototype's training loop. Each run
is a process of its own, so that peak memory is its own. Prints one JSON line a row; the ratio is
the yardstick's seconds ÷ ours, the median over the pairs of runs.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
WARM_UP_STEPS = 3


@dataclass(frozen=True, kw_only=True)
class Row:
    """One comparison."""

    method: str
    height: int
    width: int
    steps: int


ROWS = {
    "osmis-128x256": Row(method="osmis", height=128, width=256, steps=4),
    "osmis-64x80": Row(method="osmis", height=64, width=80, steps=10),
    "projected-64x96": Row(method="projected", height=64, width=96, steps=30),
}


def main() -> None:
    """Runs the rows asked for, or, called by itself, one run of ours."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--row", action="append", choices=sorted(ROWS))
    parser.add_argument("--pairs", type=int, default=3, help="runs of each side")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--ours-only", choices=sorted(ROWS), help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.ours_only:
        print(json.dumps(time_ours(ROWS[chosen.ours_only], chosen.threads)))
        return
    for name in chosen.row or ROWS:
        compare(name, chosen.pairs, chosen.threads)


def compare(name: str, pairs: int, threads: int) -> None:
    """Alternates yardstick and ours, and prints the medians of ratio and figures."""
    row = ROWS[name]
    yardstick = time_paper if row.method == "osmis" else time_prototype
    theirs, ours = [], []
    for _ in range(pairs):
        theirs.append(yardstick(row, threads))
        ours.append(_child(["-m", "bench.step", "--ours-only", name], threads))
    ratios = [a["seconds"] / b["seconds"] for a, b in zip(theirs, ours, strict=True)]
    report = {
        "row": name,
        "threads": threads,
        "ratio": round(statistics.median(ratios), 2),
        "ratios": [round(r, 2) for r in ratios],
        "yardstick_seconds": [a["seconds"] for a in theirs],
        "ours_seconds": [b["seconds"] for b in ours],
        "ours_peak_mib": max(b["peak_mib"] for b in ours),
        "yardstick_peak_mib": max(a["peak_mib"] for a in theirs),
    }
    print(json.dumps(report), flush=True)


def time_ours(row: Row, threads: int) -> dict[str, Any]:
    """Seconds of a step of ours, augmentation included; in a process of its own."""
    import torch

    from bench.setup import optimisation_of

    torch.set_num_threads(threads)
    optimisation = optimisation_of(row.method, row.height, row.width)
    seconds = []
    for step in range(WARM_UP_STEPS + row.steps):
        began = time.perf_counter()
        optimisation.run(step)
        seconds.append(time.perf_counter() - began)
    return {
        # the mean, since every fifth step of ``projected`` also draws new views
        "seconds": round(statistics.mean(seconds[WARM_UP_STEPS:]), 4),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }


def time_paper(row: Row, threads: int) -> dict[str, Any]:
    """Seconds of a step of the published method done the plain way."""
    arguments = ["--height", str(row.height), "--width", str(row.width), "--steps", str(row.steps)]
    found = _child([str(SHARED / "bench/paper_step.py"), *arguments], threads)
    return {
        "seconds": found["seconds_per_step_median"],
        "peak_mib": found["peak_rss_mib"],
    }


def time_prototype(row: Row, threads: int) -> dict[str, Any]:
    """Seconds of a step of the prototype's training, from the lines it prints."""
    source = (SHARED / "prototype/coarse_gan.py").read_text()
    # a line every 5 s, and no samples in between
    for old, new in (
        ("nxt=60.", "nxt=5."),
        ("save(f't{int(nxt):04d}'); nxt=nxt+60 if nxt<300 else nxt+150", "nxt=nxt+5"),
    ):
        if old not in source:
            raise SystemExit(f"The prototype changed: {old} is gone.")
        source = source.replace(old, new)
    example = ROOT / "examples/coffee"
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "coarse_gan.py"
        script.write_text(source)
        arguments = [
            *("--image", str(example / "image.png"), "--mask", str(example / "mask.png")),
            *("--height", str(row.height), "--width", str(row.width), "--ch", "0.5"),
            *("--minutes", "0.4", "--out", str(Path(folder) / "out")),
        ]
        ran = subprocess.run(
            [sys.executable, str(script), *arguments],
            env=_environment(threads) | {"PYTHONPATH": str(SHARED / "bench")},
            check=True,
            capture_output=True,
            text=True,
        )
    told = [
        (float(s), int(n)) for s, n in re.findall(r"^(\d+)s step (\d+)", ran.stdout, re.MULTILINE)
    ]
    (first_s, first_n), (last_s, last_n) = told[0], told[-1]
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024
    return {"seconds": round((last_s - first_s) / (last_n - first_n), 4), "peak_mib": peak}


def _child(arguments: list[str], threads: int) -> dict[str, Any]:
    ran = subprocess.run(
        [sys.executable, *arguments, *(["--threads", str(threads)] if "-m" in arguments else [])],
        cwd=ROOT,
        env=_environment(threads),
        check=True,
        capture_output=True,
        text=True,
    )
    return dict(json.loads(ran.stdout.splitlines()[-1]))


def _environment(threads: int) -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": str(threads)}


if __name__ == "__main__":
    main()
