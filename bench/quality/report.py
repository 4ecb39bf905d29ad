"""Writes docs/quality.md, its pictures and results.json from what was measured."""

from __future__ import annotations

import json
import platform
from pathlib import Path
from typing import Any

from bench.quality.evaluate import JUDGED, MASKS_JUDGED, UNET_REPEATS
from bench.quality.setup import DOCS, METHODS, PICTURES, WORK, Run, load_pair, read_set
from osmis_core.export.contact_sheet import SheetText, SheetTile, contact_sheet

SHOWN = 15
COLUMNS = (
    ("minutes", "minutes", "{:g}"),
    ("U-Net mIoU ↑", "unet_miou", "{:.3f}"),
    ("of all kept", "unet_miou_all", "{:.3f}"),
    ("LPIPS diversity ↑", "diversity", "{:.3f}"),
    ("layout IoU ↓", "layout_iou", "{:.3f}"),
    ("novel layouts ↑", "novel_share", "{:.0%}"),
    ("class faults ↓", "fault_share", "{:.0%}"),
)


def draw_sheet(run: Run, place: Path) -> Path:
    """The contact sheet of a set, beside docs/quality.md."""
    pair = load_pair(run.pair)
    samples = read_set(place, SHOWN)
    tiles = [SheetTile(image, mask, f"{i}") for i, (image, mask) in enumerate(samples)]
    source = SheetTile(pair.image_HWC, pair.mask_HW, "source")
    minutes = f", {run.minutes:g} min" if run.minutes else ""
    text = SheetText(
        title=f"{run.pair}: {run.method}{minutes}",
        subtitle=f"seed {run.seed}, the first {len(samples)} of the set",
        class_names=pair.class_names,
    )
    PICTURES.mkdir(parents=True, exist_ok=True)
    path = PICTURES / f"{run.pair}_{run.method}_m{run.minutes:g}_s{run.seed}.jpg"
    contact_sheet(tiles, source, text).convert("RGB").save(path, quality=85, optimize=True)
    return path


def newest_results() -> list[dict[str, Any]]:
    """The newest result for each (pair, method, seed, minutes)."""
    newest: dict[tuple[object, ...], dict[str, Any]] = {}
    paths = sorted((WORK / "results").glob("*.json"), key=lambda path: path.stat().st_mtime)
    for path in paths:
        result = dict(json.loads(path.read_text()))
        newest[result["pair"], result["method"], result["seed"], result["minutes"]] = result
    order = {name: place for place, name in enumerate(METHODS)}
    return sorted(
        newest.values(), key=lambda r: (str(r["pair"]), order[r["method"]], r["minutes"], r["seed"])
    )


def write_report() -> Path:
    """docs/quality.md and docs/quality/results.json."""
    results = newest_results()
    if not results:
        raise SystemExit("Nothing measured yet: run `python -m bench.quality evaluate` first.")
    PICTURES.mkdir(parents=True, exist_ok=True)
    (PICTURES / "results.json").write_text(json.dumps(results, indent=1) + "\n")
    lines = [_introduction(results)]
    for pair in sorted({str(result["pair"]) for result in results}):
        rows = [result for result in results if result["pair"] == pair]
        lines += [f"## {pair}\n", *_table(rows), ""]
        lines += [_picture(row) for row in rows] + [""]
    path = DOCS / "quality.md"
    path.write_text("\n".join(lines).rstrip() + "\n")
    return path


def _introduction(results: list[dict[str, Any]]) -> str:
    return f"""# Quality

Written by `make bench-quality`. `ours` is this project's default method, `prototype` the script it
grew from, `augmented` the source under random flips, scales, rotations and shifts: the reference.
Every row judges the pictures of {JUDGED} samples and the masks of {MASKS_JUDGED}, or as many as
there are (the prototype refines {JUDGED} in reasonable time). Both trainings run on one CPU thread
({platform.machine()}); the prototype's minutes are of processor time, ours of the wall clock, so
that other work on the machine costs the prototype nothing.

- **U-Net mIoU**: a small U-Net trained on {JUDGED} samples alone (150 steps, 128 px short side;
  mean of {UNET_REPEATS} repeats), on the real pair under flips, scales, rotations and shifts;
  **of all kept**: the same, trained once on the {MASKS_JUDGED}.
- **LPIPS diversity**: mean over pairs of samples; {results[0]["diversity_name"]}, input in [-1, 1].
- **layout IoU**: mean foreground IoU between the samples' masks; lower is more varied.
- **novel layouts**: share of samples whose mask no flip or affine map of the source's mask within
  the augmentations' ranges reaches with a foreground IoU of 0.8.
- **class faults**: share of samples with a class that vanished or swallowed others.
- **distance**: {results[0]["distance_name"]}, by layer, mean; lower is nearer to the source. It
  is not SIFID, which needs InceptionV3.
"""


def _table(rows: list[dict[str, Any]]) -> list[str]:
    layers = list(dict(rows[0]["distance"]))
    heads = ["method", *(head for head, *_ in COLUMNS), *(f"distance {name} ↓" for name in layers)]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for row in rows:
        cells = [str(row["method"])]
        cells += [form.format(row[key]) if key in row else "–" for _, key, form in COLUMNS]
        cells += [f"{row['distance'].get(name, float('nan')):.3g}" for name in layers]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _picture(row: dict[str, Any]) -> str:
    name = f"{row['pair']}_{row['method']}_m{row['minutes']:g}_s{row['seed']}.jpg"
    return f"![{row['pair']}, {row['method']}](quality/{name})\n"
