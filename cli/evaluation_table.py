"""A report of ``onepair evaluate`` as tables."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

UP, DOWN, NEITHER = "↑", "↓", ""
BARS = "·▁▂▃▄▅▆▇█"
Row = tuple[str, str, str, str]


def print_report(report: dict[str, Any], console: Console) -> None:
    """Prints every metric with its name and direction, class areas, and what to know."""
    console.print(_metrics_table(report))
    console.print(_classes_table(report))
    for notice in report["notices"]:
        console.print(f"note: {notice['detail']}", markup=False, highlight=False)


def _metrics_table(report: dict[str, Any]) -> Table:
    judged, source = report["set"], report["source"]
    table = Table(
        title=f"{judged['name']}: {judged['judged']} of {judged['pairs']} pairs against a source of"
        f" {source['width']}×{source['height']} pixels",
        title_justify="left",
    )
    table.add_column("metric")
    table.add_column("better", justify="center")
    table.add_column("figure", justify="right")
    table.add_column("note", style="dim")
    for row in _rows(report["metrics"], report["not_measured"]):
        table.add_row(*row)
    return table


def _rows(metrics: dict[str, Any], why_not: dict[str, str]) -> list[Row]:
    rows: list[Row] = []
    for key in ("sifid", "image_distance"):
        rows += _distance_rows(metrics[key], why_not.get(key, ""))
    near = metrics["lpips_to_source"]
    rows.append(
        (f"distance to the source ({near['name']})", NEITHER, _number(near["mean"]),
         f"nearest {_number(near['nearest'])}")
    )  # fmt: skip
    for key in ("lpips_diversity", "lpips_diversity_unit_range"):
        found = metrics[key]
        name = found["name"] if found else "LPIPS"
        note = f"{found['pairs_compared']} pairs compared" if found else why_not[key]
        rows.append((f"diversity ({name})", UP, _number(found and found["mean"]), note))
    unet = metrics["unet_miou"]
    rows += [
        ("U-Net mean IoU on the source", UP, _number(unet and unet["mean"]),
         _repeats(unet["repeats"]) if unet else why_not["unet_miou"]),
        ("novel layouts", UP, _percent(metrics["novel_share"]),
         f"IoU with the moved source under {metrics['novel_below_iou']}"),
        ("best IoU with the moved source", DOWN, _number(metrics["source_iou"]), "mean"),
        ("layout IoU between samples", DOWN, _number(metrics["layout_iou"]),
         why_not.get("layout_iou", "mean over all pairs")),
        ("samples with class faults", DOWN, _percent(metrics["classes"]["fault_share"]),
         "a class vanished or spread"),
        _verbatim_row(metrics["verbatim_share"], why_not),
    ]  # fmt: skip
    return rows


def _distance_rows(found: dict[str, Any] | None, why_not: str) -> list[Row]:
    if found is None:
        return [("SIFID", DOWN, "–", why_not)]
    return [
        (found["name"], DOWN, "", f"mean of {found['images']} images"),
        *((f"  {layer}", DOWN, _number(value), "") for layer, value in found["layers"].items()),
        *((f"  {layer}", DOWN, "–", "too few positions") for layer in found["left_out"]),
    ]


def _repeats(values: list[float]) -> str:
    if len(values) == 1:
        return "one network; --unet-repeats trains more"
    return f"networks: {', '.join(map(_number, values))}"


def _verbatim_row(found: dict[str, float] | None, why_not: dict[str, str]) -> Row:
    name = "verbatim source"
    if found is None:
        return name, NEITHER, "–", why_not["verbatim_share"]
    note = f"{_percent(found['min'])} to {_percent(found['max'])} of an image's pixels"
    return name, NEITHER, _percent(found["mean"]), note


def _classes_table(report: dict[str, Any]) -> Table:
    table = Table(title="share of the picture by class", title_justify="left")
    table.add_column("class")
    for column in ("source", "mean", "min", "max", "vanished in", "spread in"):
        table.add_column(column, justify="right")
    table.add_column("samples by share, 0 … 100 %")
    for found in report["metrics"]["classes"]["by_class"]:
        shares = ("source", "mean", "min", "max", "vanished_share", "swallowed_share")
        figures = (_percent(found[name]) for name in shares)
        table.add_row(found["name"], *figures, _bars(found["histogram"]))
    return table


def _bars(counts: list[int]) -> str:
    """A histogram in one line: a bar a bin, as high as its share of the fullest."""
    top = max(counts)
    return "".join(BARS[-(-count * (len(BARS) - 1) // top)] for count in counts)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}" if value >= 1 or value == 0 else f"{value:.3f}"


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"
