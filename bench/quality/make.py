"""Makes the sets of a run: ``set.zip`` or ``set/`` in each snapshot's folder, and ``made.json``."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from PIL import Image

from bench.quality.augmented import augmented_samples
from bench.quality.copy_paste import copy_paste_samples
from bench.quality.keys import Run, Snapshot
from bench.quality.patches import patch_samples
from bench.quality.prototype import refine_prototype, train_prototype
from bench.quality.sampled import product_set, published_samples
from bench.quality.setup import SAMPLES, U8, Method, load_pair
from bench.quality.trained import notes_path, train_snapshots
from osmis_core.data.pair import Pair
from osmis_core.errors import TrainingError

WITHOUT_TRAINING: dict[Method, Callable[[Pair, int, int], Iterator[tuple[U8, U8]]]] = {
    "patches": patch_samples,
    "copy_paste": copy_paste_samples,
    "augmented": augmented_samples,
}


def make_sets(run: Run) -> None:
    """Trains if the method does, and makes a set of every snapshot; does what is missing."""
    missing = [snapshot for snapshot in run.snapshots if not is_made(snapshot)]
    if not missing:
        return
    pair = load_pair(run.pair, has_mask=dict(run.options).get("mask_supervision") != "none")
    if run.method == "prototype":
        train_prototype(run)
    elif run.method not in WITHOUT_TRAINING:
        train_snapshots(run, pair, "projected" if run.method == "ours" else "osmis")
    for snapshot in missing:
        _make_set(snapshot, pair)


def is_made(snapshot: Snapshot) -> bool:
    """Whether its set is finished, or was refused for good."""
    return (snapshot.folder / "made.json").exists()


def set_of(snapshot: Snapshot) -> Path | None:
    """The finished set; None if the method refused to make one."""
    places = [snapshot.folder / name for name in ("set.zip", "set")]
    return next((place for place in places if place.exists()), None)


def processor_seconds() -> float:
    """Of this process and those it waited for: other work on the machine does not count."""
    return sum(os.times()[:4])


def _make_set(snapshot: Snapshot, pair: Pair) -> None:
    shutil.rmtree(snapshot.folder, ignore_errors=True)
    snapshot.folder.mkdir(parents=True)
    run, folder = snapshot.run, snapshot.folder / "set"
    notes: dict[str, Any] = {"samples": SAMPLES}
    began = processor_seconds()
    try:
        if run.method == "ours":
            notes |= product_set(snapshot, pair, snapshot.folder / "set.zip")
        elif run.method == "published":
            _write(folder, published_samples(snapshot, pair, SAMPLES))
        elif run.method == "prototype":
            refine_prototype(snapshot, folder)
        else:
            _write(folder, WITHOUT_TRAINING[run.method](pair, run.seed, SAMPLES))
    except TrainingError as error:
        notes["refused"] = str(error)
    seconds = processor_seconds() - began
    notes["seconds_a_sample"] = round(seconds / notes["samples"], 3)
    if notes_path(snapshot).exists():
        notes["training"] = json.loads(notes_path(snapshot).read_text())
    (snapshot.folder / "made.json").write_text(json.dumps(notes, indent=1) + "\n")
    print(f"{snapshot.name}: made, {notes['seconds_a_sample']} s a sample", flush=True)


def _write(folder: Path, samples: Iterable[tuple[U8, U8]]) -> None:
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for i, (image_HWC, mask_HW) in enumerate(samples):
        Image.fromarray(image_HWC).save(folder / "images" / f"{i:06d}.png")
        Image.fromarray(mask_HW).save(folder / "masks" / f"{i:06d}.png")
