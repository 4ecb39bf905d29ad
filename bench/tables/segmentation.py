"""Tables 5 and 6 of the paper, in a first form: what a segmenter gains from generated pairs.

``python -m bench.tables.segmentation``: a small U-Net is trained on the source alone, on the source
under flips, scales, rotations and shifts, on generated pairs, and on both together, and tested on
other such views of the source. Takes the newest sets that ``make bench-quality`` has made.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from bench.quality.keys import core_commit
from bench.quality.setup import PAIRS, U8, WORK, load_pair
from bench.quality.sheets import read_set
from bench.quality.table import mean_and_error
from bench.tables.setup import DOCS
from osmis_core.metrics.unet import UnetOptions, unet_miou

TAKEN = 24
"""Pairs of each set; both together are twice as many."""
SEEDS = 3
ROWS = ("source alone", "augmented", "ours", "ours and augmented")

Scores = dict[str, dict[str, list[float]]]


def main() -> None:
    """Trains what is missing and writes the table; pairs without sets are left out."""
    parser = argparse.ArgumentParser(prog="python -m bench.tables.segmentation")
    parser.add_argument("--pair", action="append", choices=sorted(PAIRS), help="default: all")
    chosen = parser.parse_args()
    path = DOCS / "segmentation.json"
    scores: Scores = json.loads(path.read_text())["miou"] if path.exists() else {}
    for pair in chosen.pair or PAIRS:
        ours, augmented = newest_set(pair, "ours"), newest_set(pair, "augmented")
        if ours is None or augmented is None:
            print(f"{pair}: left out, make bench-quality has made no sets of it")
            continue
        scores[pair] = score(pair, read_set(ours, TAKEN), read_set(augmented, TAKEN))
        path.parent.mkdir(parents=True, exist_ok=True)
        kept = {"osmis_core": core_commit(), "miou": scores}
        path.write_text(json.dumps(kept, indent=1) + "\n")
    text = table(scores)
    path.with_suffix(".md").write_text(text)
    print(text)


def newest_set(pair: str, method: str, work: Path = WORK) -> Path | None:
    """The newest set of a method; of a training's snapshots, the longest's."""
    places = [*work.glob(f"{pair}-{method}-s0-*/t*/set.zip")]
    places += work.glob(f"{pair}-{method}-s0-*/t*/set")
    if not places:
        return None
    newest = max(places, key=lambda place: (place.parent / "made.json").stat().st_mtime).parent
    snapshots = [place for place in places if place.parent.parent == newest.parent]
    return max(snapshots, key=lambda place: float(place.parent.name[1:].split("-")[0]))


def score(
    pair_name: str, ours: list[tuple[U8, U8]], augmented: list[tuple[U8, U8]]
) -> dict[str, list[float]]:
    """The U-Net's mIoU on the real pair by what it was trained on, one for each seed."""
    pair = load_pair(pair_name)
    sets = (
        [(pair.image_HWC, pair.mask_HW)],
        augmented,
        ours,
        [sample for both in zip(ours, augmented, strict=False) for sample in both],
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


def table(scores: Scores) -> str:
    """Markdown, a row for each training set and a column for each pair."""
    lines = [
        "U-Net mIoU on the real pair under flips, scales, rotations and shifts;",
        f"mean of {SEEDS} networks ± standard error.",
        "",
        "| trained on | " + " | ".join(scores) + " |",
        "|---" * (1 + len(scores)) + "|",
    ]
    for row in ROWS:
        cells = [mean_and_error(of_pair[row], "{:.3f}") for of_pair in scores.values()]
        lines.append("| " + " | ".join([row, *cells]) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
