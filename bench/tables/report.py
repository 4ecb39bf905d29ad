"""Both tables in Markdown, the paper's figures beside ours."""

from __future__ import annotations

from bench.quality.keys import Run
from bench.quality.setup import is_here
from bench.quality.sheets import sheet_links
from bench.quality.table import Result, layers_of, markdown, mean_and_error, read_results, troubles
from bench.tables.setup import (
    EFFORT,
    MINUTES,
    PAIRS,
    TABLE_3,
    TABLE_4,
    Row,
    default_blocks,
    run_of,
)


def write_report() -> str:
    """What is measured so far; rows without a figure are not yet, or failed."""
    results = read_results(EFFORT.folder / "results")
    parts = [_introduction(results)]
    for pair in filter(is_here, PAIRS):
        of_pair = [result for result in results if result["pair"] == pair]
        if not of_pair:
            continue
        default = default_blocks(pair)
        parts += [f"## {pair}\n", f"### Table 3: mask supervision ({default} low-level blocks)\n"]
        parts += [*_table(pair, TABLE_3, of_pair), "", "### Table 4: low-level blocks (mca)\n"]
        parts += [*_table(pair, TABLE_4, of_pair), "", *sheet_links(f"{pair}_*", EFFORT), ""]
    if found := troubles(results):
        parts += ["## What went wrong\n", *found]
    text = "\n".join(parts).rstrip() + "\n"
    EFFORT.folder.mkdir(parents=True, exist_ok=True)
    (EFFORT.folder / "table.md").write_text(text)
    return text


def _table(pair: str, rows: tuple[Row, ...], results: list[Result]) -> list[str]:
    layers = layers_of(results)
    heads = ["", *(f"{layer} ↓" for layer in layers), "LPIPS ↑", "mIoU ↑", "steps"]
    heads += ["paper: SIFID ↓", "LPIPS ↑", "mIoU ↑"]
    cells_of_rows = []
    for row in rows:
        run = run_of(pair, row, 0)
        found = [r for r in results if is_of(run, r) and r["metrics"]]
        metrics = [result["metrics"] for result in found]
        cells = [row.name]
        cells += [
            mean_and_error((m["image_distance"]["layers"].get(layer) for m in metrics), "{:.3g}")
            for layer in layers
        ]
        cells.append(mean_and_error((m["lpips_diversity"]["mean"] for m in metrics), "{:.3f}"))
        judges_masks = row.supervision != "none"
        miou = (m["unet_miou"] and m["unet_miou"]["mean"] for m in metrics if judges_masks)
        cells.append(mean_and_error(miou, "{:.3f}"))
        cells.append(mean_and_error((r["made"]["training"]["steps"] for r in found), "{:.0f}"))
        cells += [f"{row.sifid:.3f}", f"{row.lpips:.3f}"]
        cells.append("–" if row.miou is None else f"{row.miou / 100:.3f}")
        cells_of_rows.append(cells)
    return markdown(heads, cells_of_rows)


def is_of(run: Run, result: Result) -> bool:
    """Whether a result is of this training, as long as this, by this code; whatever its seed."""
    return (
        result["variant"] == run.variant
        and result["planned_minutes"] == run.planned
        and result["codes"] == [run.code, run.set_code]
    )


def _introduction(results: list[Result]) -> str:
    commits = ", ".join(sorted({str(result["osmis_core"]) for result in results}))
    return f"""# The paper's tables, small

Written by `python -m bench.tables` with `osmis_core` at {commits}. The published method alone
(`method=osmis`), 64 pixels on the shorter side, {MINUTES:g} minutes on one CPU thread; the paper's
figures are of DAVIS-17 frames at 640×384 after 150 000 steps, so only orders can be compared.

- Distances: VGG-16 shift-tolerant by layer, not SIFID. LPIPS: mean over pairs of samples, AlexNet
  shift-tolerant. mIoU: a U-Net trained on the set alone, on the real pair under flips, scales,
  rotations and shifts (the paper's is trained on 100 samples).
- `none` trains on the image alone, and makes no masks.
"""
