"""Writes ``table.md`` from what was measured. docs/quality.md is written by hand."""

from __future__ import annotations

import platform

from bench.quality.setup import Effort
from bench.quality.sheets import sheet_links
from bench.quality.table import Result, read_results, tables, troubles

MINUTES_ON = {"cpu": "on one CPU thread", "cuda": "on a GPU shared with other rows' trainings"}


def write_report(effort: Effort) -> str:
    """The tables of all pairs; also in ``table.md``, with the contact sheets of the first seed."""
    results = read_results(effort.folder / "results")
    if not results:
        raise SystemExit("Nothing measured yet: run `python -m bench.quality` first.")
    printed, written = [], [_introduction(effort, results)]
    for pair, lines in tables(results).items():
        printed += [pair, *lines, ""]
        written += [f"## {pair}\n", *lines, "", *_sheets(pair, results, effort), ""]
    found = troubles(results)
    if found:
        printed += found
        written += ["## What went wrong\n", *found]
    text = "\n".join(written).rstrip() + "\n"
    (effort.folder / "table.md").write_text(text)
    return "\n".join(printed).rstrip()


def _sheets(pair: str, results: list[Result], effort: Effort) -> list[str]:
    first_seed = min(int(result["seed"]) for result in results if result["pair"] == pair)
    return sheet_links(f"{pair}_*_s{first_seed}", effort)


def _introduction(effort: Effort, results: list[Result]) -> str:
    measured = [result for result in results if result["metrics"]]
    names = measured[0]["metrics"] if measured else {}
    diversity = (names.get("lpips_diversity") or {}).get("name", "LPIPS")
    distance = (names.get("image_distance") or {}).get("name", "distance")
    commits = ", ".join(sorted({str(result["osmis_core"]) for result in results}))
    return f"""# Quality: the table

Written by `python -m bench.quality` with `osmis_core` at {commits} (+: with changes), on
{platform.machine()}. Every set is judged by its first {effort.judged} samples; ± is the standard
error over seeds.

- **ours**: this project's default method, refined, scored and curated as a job delivers it.
  **published**: the published method alone (`method=osmis`) at the same training size and
  minutes, its samples enlarged. **prototype**: the script this project grew from.
  **patches**: patches of the source put together from noise, image and mask at once; no network.
  **copy_paste**: the source's objects pasted elsewhere on its filled-in background.
  **augmented**: the source under random flips, scales, rotations and shifts: the reference.
- **minutes**: of training, {MINUTES_ON[effort.device]}. "3 of 10" is a training planned for 10
  minutes, as it stands after 3. How many **steps** they are good for depends on the machine, and on
  what else it does. The prototype's are of processor time, the others' of the wall clock.
- **U-Net mIoU**: a small U-Net trained on the set alone (150 steps, 128 px short side, mean of
  {effort.unet_repeats}), on the real pair under flips, scales, rotations and shifts. Not of
  snapshots before a training's end.
- **LPIPS diversity**: mean over pairs of samples; {diversity}.
- **layout IoU**: mean foreground IoU between the samples' masks; lower is more varied.
- **novel layouts**: share of samples whose mask no flip or affine map of the source's mask within
  the augmentations' ranges reaches with a foreground IoU of 0.8.
- **class faults**: share of samples with a class that vanished or swallowed others.
- **verbatim**: share of textured pixels that are copied from the source, neighbours included.
- **s a sample**: processor time to make a sample, training left out.
- **distance**: {distance}, by layer, mean; lower is nearer to the source. Not SIFID.
"""
