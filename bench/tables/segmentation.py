"""Tables 5 and 6 of the paper, in a first form: what a segmenter gains from generated pairs.

``python -m bench.tables.segmentation``: a small U-Net is trained on the source alone, on the source
under flips, scales, rotations and shifts, on generated pairs as they are and under the same, and on
both together, and tested on other such views of the source. Takes the sets that ``python -m
bench.quality --minutes 10`` makes, and the networks that it has judged them by. Resumable, row by
row: some ten minutes each on one core.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.quality.augmented import augmented_samples
from bench.quality.keys import Snapshot, core_commit, make_run, measure_hash
from bench.quality.make import is_made, set_of
from bench.quality.setup import FULL, PAIRS, U8, is_here, load_pair
from bench.quality.sheets import read_set
from bench.quality.table import markdown, mean_and_error
from bench.tables.setup import EFFORT
from osmis_core.data.pair import Pair
from osmis_core.metrics.unet import UnetOptions, unet_miou

TAKEN = 24
"""Pairs of each set; of both together, half of each."""
MINUTES = 10.0
SEEDS = 3
ROWS = ("source alone", "source, augmented", "ours", "ours, augmented", "both, augmented")
JUDGED = {"source, augmented": "augmented", "ours": "ours"}
"""Rows whose networks ``bench.quality`` has trained: the same pairs, the same seeds."""

Scored = dict[str, Any]


def main() -> None:
    """Trains what is missing and writes the table; pairs without sets are left out."""
    parser = argparse.ArgumentParser(prog="python -m bench.tables.segmentation")
    parser.add_argument("--pair", action="append", choices=sorted(PAIRS), help="default: all here")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="of the training")
    chosen = parser.parse_args()
    path = EFFORT.folder / "segmentation.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    for pair in chosen.pair or filter(is_here, PAIRS):
        ours = make_run(pair, "ours", 0, (chosen.minutes,)).snapshots[-1]
        augmented = make_run(pair, "augmented", 0, ()).snapshots[-1]
        if not all(is_made(made) and set_of(made) for made in (ours, augmented)):
            print(f"{pair}: left out, python -m bench.quality has made no sets of it")
            continue
        origin = {
            "minutes": chosen.minutes,
            "codes": [ours.run.code, ours.run.set_code, augmented.run.set_code, measure_hash()],
        }
        for row in ROWS:
            kept = _read(path).get(pair, {})
            if not origin.items() <= kept.items():
                kept = {**origin, "osmis_core": core_commit(), "miou": {}}
            if row not in kept["miou"]:
                kept["miou"][row] = score(row, pair, ours, augmented)
                print(f"{pair}, {row}: {mean_and_error(kept['miou'][row], '{:.3f}')}", flush=True)
                path.write_text(json.dumps({**_read(path), pair: kept}, indent=1) + "\n")
    text = table(_read(path))
    path.with_suffix(".md").write_text(text)
    print(text)


def score(row: str, pair_name: str, ours: Snapshot, augmented: Snapshot) -> list[float]:
    """The U-Net's mIoU on the real pair when it was trained on that, one for each seed."""
    if row in JUDGED:
        made = ours if JUDGED[row] == "ours" else augmented
        judged = made.result_path(FULL)
        if judged.exists():
            told = json.loads(judged.read_text())["metrics"]["unet_miou"]
            if (told["pairs"], len(told["repeats"])) == (TAKEN, SEEDS):
                return [float(one) for one in told["repeats"]]
    pair = load_pair(pair_name)
    images, masks = zip(*_samples(row, pair, ours, augmented), strict=True)
    found = [
        unet_miou(
            images,
            masks,
            pair.image_HWC,
            pair.mask_HW,
            pair.class_count,
            UnetOptions(seed=seed),
        )
        for seed in range(SEEDS)
    ]
    return [value for value in found if value is not None]


def _samples(row: str, pair: Pair, ours: Snapshot, augmented: Snapshot) -> list[tuple[U8, U8]]:
    """What the network is trained on."""
    if row == "source alone":
        return [(pair.image_HWC, pair.mask_HW)]
    if row == "source, augmented":
        return _set(augmented)
    if row == "ours":
        return _set(ours)
    views = [_view(pair, *sample, seed) for seed, sample in enumerate(_set(ours))]
    if row == "ours, augmented":
        return views
    half = TAKEN // 2
    return [*views[:half], *_set(augmented)[:half]]


def _set(made: Snapshot) -> list[tuple[U8, U8]]:
    place = set_of(made)
    assert place is not None  # it is made
    return read_set(place, TAKEN)


def _read(path: Path) -> dict[str, Scored]:
    kept: dict[str, Scored] = json.loads(path.read_text()) if path.exists() else {}
    return kept


def _view(pair: Pair, image_HWC: U8, mask_HW: U8, seed: int) -> tuple[U8, U8]:
    """One of the views that the reference consists of, of another pair than the source."""
    shown = replace(pair, image_HWC=image_HWC, mask_HW=mask_HW)
    return next(augmented_samples(shown, seed, 1))


def table(kept: dict[str, Scored]) -> str:
    """Markdown, a row for each training set and a column for each pair."""
    heads = [f"{pair}, {scored['minutes']:g} min" for pair, scored in kept.items()]
    introduction = [
        "U-Net mIoU on the real pair under flips, scales, rotations and shifts; mean of",
        f"{SEEDS} networks ± standard error. Sets of {TAKEN} (both: half of each) of one training,",
        "curated as a job delivers them.",
        "",
    ]
    rows = (
        [row, *(mean_and_error(scored["miou"].get(row, ()), "{:.3f}") for scored in kept.values())]
        for row in ROWS
    )
    return "\n".join([*introduction, *markdown(["trained on", *heads], rows)]) + "\n"


if __name__ == "__main__":
    main()
