"""One training step, ours against the yardsticks, one after the other in the same minute.

    python -m bench.step                          # every row, three pairs of runs each
    python -m bench.step --row osmis-128x256 --pairs 5
    python -m bench.step --switches                    # each fast path alone, and without each
    python -m bench.step --device cuda                 # the published method on a GPU
    python -m bench.step --switches --device cuda

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
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
WARM_UP_STEPS = 5
"""On a GPU a step is recorded in the third."""
PAPER_HEIGHT = 384
SWITCHES = (
    "bfloat16",
    "channels_last",
    "fused",
    "frozen",
    "judged_once",
    "together",
    "normalised_once",
)
ON_GPU = ("captured",)
SWITCHED_STEPS = 50
"""A whole number of times the steps between new views."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One comparison."""

    method: str
    height: int
    width: int
    steps: int


ROWS = {
    "osmis-128x256": Row(method="osmis", height=128, width=256, steps=8),
    "osmis-384x640": Row(method="osmis", height=384, width=640, steps=8),
    "osmis-64x80": Row(method="osmis", height=64, width=80, steps=40),
    "projected-64x96": Row(method="projected", height=64, width=96, steps=150),
}


def main() -> None:
    """Runs the rows asked for, or, called by itself, one run of ours."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--row", action="append", choices=sorted(ROWS))
    parser.add_argument("--pairs", type=int, default=3, help="runs of each side")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--switches", action="store_true", help="each fast path on and off")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--ours-only", choices=sorted(ROWS), help=argparse.SUPPRESS)
    parser.add_argument("--fast", default=None, help=argparse.SUPPRESS)
    parser.add_argument("--steps", type=int, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.ours_only:
        row = ROWS[chosen.ours_only]
        row = replace(row, steps=chosen.steps or row.steps)
        fast = None if chosen.fast is None else json.loads(chosen.fast)
        print(json.dumps(time_ours(row, chosen.threads, chosen.device, fast)))
        return
    on_prototype = [name for name in chosen.row or () if ROWS[name].method != "osmis"]
    if chosen.device != "cpu" and not chosen.switches and on_prototype:
        parser.error("the prototype is timed on a CPU")
    if chosen.device == "cuda" and not has_cuda():
        print("skipped: there is no CUDA device here")
        return
    for name in chosen.row or rows_of(chosen.device, switches=chosen.switches):
        if chosen.switches:
            compare_switches(name, chosen.pairs, chosen.threads, chosen.device)
        else:
            compare(name, chosen.pairs, chosen.threads, chosen.device)


def rows_of(device: str, *, switches: bool) -> list[str]:
    """What is compared by default: the paper's size on a GPU only, the prototype on a CPU only."""
    if device == "cpu":
        return [name for name, row in ROWS.items() if row.height < PAPER_HEIGHT]
    return [name for name, row in ROWS.items() if switches or row.method == "osmis"]


def has_cuda() -> bool:
    """Whether there is a CUDA device."""
    import torch

    return torch.cuda.is_available()


def compare(name: str, pairs: int, threads: int, device: str) -> None:
    """Alternates yardstick and ours, and prints the medians of ratio and figures."""
    row = ROWS[name]
    theirs, ours = [], []
    for _ in range(pairs):
        if row.method == "osmis":
            theirs.append(time_paper(row, threads, device))
        else:
            theirs.append(time_prototype(row, threads))
        arguments = ["--ours-only", name, "--device", device]
        ours.append(_child(["-m", "bench.step", *arguments], threads))
    ratios = [a["seconds"] / b["seconds"] for a, b in zip(theirs, ours, strict=True)]
    report = {
        "row": name,
        "threads": threads,
        "device": device,
        "ratio": round(statistics.median(ratios), 2),
        "ratios": [round(r, 2) for r in ratios],
        "yardstick_seconds": [a["seconds"] for a in theirs],
        "ours_seconds": [b["seconds"] for b in ours],
    }
    if device == "cpu":  # of a GPU's memory the yardstick tells nothing
        report["ours_peak_mib"] = max(b["peak_mib"] for b in ours)
        report["yardstick_peak_mib"] = max(a["peak_mib"] for a in theirs)
    print(json.dumps(report), flush=True)


def compare_switches(name: str, rounds: int, threads: int, device: str) -> None:
    """Times a step with no fast path, each alone, all but each, all, and those a training takes."""
    arguments = ["--ours-only", name, "--device", device]
    arguments += ["--steps", str(min(ROWS[name].steps, SWITCHED_STEPS))]
    switches = SWITCHES if device == "cpu" else SWITCHES + ON_GPU
    paths = dict.fromkeys(switches, True)
    off = dict.fromkeys(switches, False)
    variants: dict[str, dict[str, bool] | None] = {"none": off}
    variants |= {f"only {switch}": off | {switch: True} for switch in switches}
    variants |= {f"all but {switch}": paths | {switch: False} for switch in switches}
    variants |= {"all": paths, "as chosen": None}
    seconds: dict[str, list[float]] = {variant: [] for variant in variants}
    peak: dict[str, int] = {}
    for _ in range(rounds):
        for variant, fast in variants.items():
            found = _child(["-m", "bench.step", *arguments, "--fast", json.dumps(fast)], threads)
            seconds[variant].append(found["seconds"])
            peak[variant] = max(found["peak_mib"], peak.get(variant, 0))
    for variant in variants:
        pairs = zip(seconds["none"], seconds[variant], strict=True)
        ratio = statistics.median(plain / fast for plain, fast in pairs)
        line = {"row": name, "on": variant, "times_as_fast": round(ratio, 2)}
        print(json.dumps(line | {"peak_mib": peak[variant]}), flush=True)


def time_ours(
    row: Row, threads: int, device: str = "cpu", fast: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Seconds of a step of ours, augmentation included; in a process of its own."""
    import torch

    from bench.setup import optimisation_of
    from osmis_core.training.allocation import keep_freed_memory
    from osmis_core.training.fast_paths import FastPaths

    keep_freed_memory()
    torch.set_num_threads(threads)
    chosen = None if fast is None else FastPaths(**fast)
    place = torch.device(device)
    optimisation = optimisation_of(row.method, row.height, row.width, place, chosen)
    seconds = []
    for step in range(WARM_UP_STEPS + row.steps):
        began = time.perf_counter()
        optimisation.run(step).to_floats()  # waits for the device
        seconds.append(time.perf_counter() - began)
    on_host = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    on_device = torch.cuda.max_memory_allocated() if place.type == "cuda" else 0
    return {
        # the mean, since every fifth step of ``projected`` also draws new views
        "seconds": round(statistics.mean(seconds[WARM_UP_STEPS:]), 4),
        "peak_mib": on_device // 2**20 or on_host // 1024,
    }


def time_paper(row: Row, threads: int, device: str) -> dict[str, Any]:
    """Seconds of a step of the published method done the plain way."""
    arguments = ["--height", str(row.height), "--width", str(row.width), "--steps", str(row.steps)]
    arguments += ["--device", device]
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
        peak = "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)"
        script.write_text(f"{source}\nimport resource\n{peak}\n")
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
    peak = int(ran.stdout.splitlines()[-1])
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
