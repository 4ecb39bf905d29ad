"""The script that this project grew from, as it is, looked at after the same minutes.

Its minutes are of processor time, so that other work on the machine costs it nothing.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from bench.quality.keys import Run, Snapshot
from bench.quality.setup import PAIRS, PROTOTYPE, SAMPLES, SHARED

THREADS = 1
SIZES = {
    "coins": (64, 80),
    "coffee": (64, 96),
    "davis_pair": (64, 112),
    "cat": (64, 96),
    "tissue": (64, 64),
}
LATER_SWITCHES = (
    *("--mbstd", "1", "--leak", "0.5", "--spatial", "1"),
    *("--dr", "1.0", "--p0", "1500"),
)
SWITCHES = {"davis_pair": LATER_SWITCHES}
"""Its pages give these for davis; the other pairs take its first version."""


def train_prototype(run: Run) -> None:
    """Trains until every snapshot's samples are there; from the beginning if one is missing."""
    if all(coarse_folder(snapshot).exists() for snapshot in run.snapshots):
        return
    run.folder.mkdir(parents=True, exist_ok=True)
    script = run.folder / "coarse_gan.py"
    script.write_text(_changed_script(run))
    height, width = SIZES[run.pair]
    arguments = [
        *("--height", str(height), "--width", str(width), "--minutes", str(run.planned)),
        *("--ch", "0.5", "--seed", str(run.seed), "--out", str(run.folder / "coarse")),
        *SWITCHES.get(run.pair, ()),
    ]
    _run(script, run.pair, arguments)
    for snapshot in run.snapshots:
        if not coarse_folder(snapshot).exists():
            raise SystemExit(f"The prototype saves nothing after {snapshot.minutes:g} minutes.")


def refine_prototype(snapshot: Snapshot, folder: Path) -> None:
    """Refines the samples of a snapshot into ``folder``."""
    arguments = ["--set", str(coarse_folder(snapshot)), "--out", str(folder), "--n", str(SAMPLES)]
    _run(PROTOTYPE / "refine.py", snapshot.run.pair, arguments)


def coarse_folder(snapshot: Snapshot) -> Path:
    """Where its samples lie before they are refined."""
    is_last = snapshot.minutes == snapshot.run.planned
    name = "final" if is_last else f"t{round(60 * snapshot.minutes):04d}"
    return snapshot.run.folder / "coarse" / name


def _changed_script(run: Run) -> str:
    """What is changed: threads, the clock, how many samples and when.

    Samples of other minutes than the snapshots' would only cost it training time.
    """
    source = (PROTOTYPE / "coarse_gan.py").read_text()
    wanted = [round(60 * minutes) for minutes in run.minutes]
    changes = {
        "time.time()": "time.process_time()",
        "E(Z(32))": f"E(Z({SAMPLES}))",
        "range(32)": f"range({SAMPLES})",
        "save(f't{int(nxt):04d}'); ": f"int(nxt) in {wanted} and save(f't{{int(nxt):04d}}'); ",
    }
    for old, new in changes.items():
        if old not in source:
            raise SystemExit(f"The prototype changed: {old} is gone.")
        source = source.replace(old, new)
    return f"import torch\ntorch.set_num_threads({THREADS})\n{source}"


def _run(script: Path, pair: str, arguments: list[str]) -> None:
    image, mask = PAIRS[pair]
    subprocess.run(
        [sys.executable, str(script), "--image", str(image), "--mask", str(mask), *arguments],
        check=True,
        env={**os.environ, "PYTHONPATH": str(SHARED / "bench"), "OMP_NUM_THREADS": str(THREADS)},
        stdout=subprocess.DEVNULL,
    )
