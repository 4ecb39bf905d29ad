"""Tables 5 and 6 of the paper, in a first form: what a segmenter gains from generated pairs.

``python -m bench.tables.segmentation``: a small U-Net is trained on the source alone, on the source
under flips, scales, rotations and shifts, on generated pairs as they are and under the same, and on
both together, and tested on other such views of the source. Takes the sets that ``python -m
bench.quality --minutes 10`` makes.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from typing import Any

from bench.quality.augmented import augmented_samples
from bench.quality.keys import core_commit, make_run, measure_hash
from bench.quality.make import is_made, set_of
from bench.quality.setup import PAIRS, U8, is_here, load_pair
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

Scored = dict[str, Any]


def main() -> None:
    """Trains what is missing and writes the table; pairs without sets are left out."""
    parser = argparse.ArgumentParser(prog="python -m bench.tables.segmentation")
    parser.add_argument("--pair", action="append", choices=sorted(PAIRS), help="default: all here")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="of the training")
    chosen = parser.parse_args()
    path = EFFORT.folder / "segmentation.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    kept: dict[str, Scored] = json.loads(path.read_text()) if path.exists() else {}
    for pair in chosen.pair or filter(is_here, PAIRS):
        ours = make_run(pair, "ours", 0, (chosen.minutes,)).snapshots[-1]
        augmented = make_run(pair, "augmented", 0, ()).snapshots[-1]
        places = [set_of(made) for made in (ours, augmented) if is_made(made)]
        sets = [read_set(place, TAKEN) for place in places if place is not None]
        if len(sets) < 2:
            print(f"{pair}: left out, python -m bench.quality has made no sets of it")
            continue
        origin = {
            "minutes": chosen.minutes,
            "codes": [ours.run.code, ours.run.set_code, augmented.run.set_code, measure_hash()],
        }
        if origin.items() <= kept.get(pair, {}).items():
            continue
        scores = score(pair, *sets)
        kept[pair] = {**origin, "osmis_core": core_commit(), "miou": scores}
        path.write_text(json.dumps(kept, indent=1) + "\n")
    text = table(kept)
    path.with_suffix(".md").write_text(text)
    print(text)


def score(
    pair_name: str, ours: list[tuple[U8, U8]], augmented: list[tuple[U8, U8]]
) -> dict[str, list[float]]:
    """The U-Net's mIoU on the real pair by what it was trained on, one for each seed."""
    pair = load_pair(pair_name)
    ours_augmented = [_view(pair, *sample, seed) for seed, sample in enumerate(ours)]
    half = TAKEN // 2
    sets = (
        [(pair.image_HWC, pair.mask_HW)],
        augmented,
        ours,
        ours_augmented,
        [*ours_augmented[:half], *augmented[:half]],
    )
    scores: dict[str, list[float]] = {}
    for name, samples in zip(ROWS, sets, strict=True):
        images, masks = zip(*samples, strict=True)
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
        scores[name] = [value for value in found if value is not None]
        print(f"{pair_name}, {name}: {mean_and_error(scores[name], '{:.3f}')}", flush=True)
    return scores


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
        [row, *(mean_and_error(scored["miou"][row], "{:.3f}") for scored in kept.values())]
        for row in ROWS
    )
    return "\n".join([*introduction, *markdown(["trained on", *heads], rows)]) + "\n"


if __name__ == "__main__":
    main()
