"""Results in, table out: one row a method and time, means and standard errors over seeds."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from bench.quality.setup import METHODS

Result = dict[str, Any]
Read = Callable[[Result], float | None]


def _metric(*names: str) -> Read:
    def read(result: Result) -> float | None:
        value: Any = result["metrics"]
        for name in names:
            if value is None:
                return None
            value = value.get(name)
        return None if value is None else float(value)

    return read


def _steps(result: Result) -> float | None:
    """What the minutes were good for on the machine at hand."""
    return (result["made"].get("training") or {}).get("steps")


COLUMNS: tuple[tuple[str, Read, str], ...] = (
    ("steps", _steps, "{:.0f}"),
    ("U-Net mIoU ↑", _metric("unet_miou", "mean"), "{:.3f}"),
    ("LPIPS diversity ↑", _metric("lpips_diversity", "mean"), "{:.3f}"),
    ("layout IoU ↓", _metric("layout_iou"), "{:.3f}"),
    ("novel layouts ↑", _metric("novel_share"), "{:.0%}"),
    ("class faults ↓", _metric("classes", "fault_share"), "{:.0%}"),
    ("verbatim", _metric("verbatim_share", "mean"), "{:.0%}"),
    ("s a sample ↓", lambda result: float(result["made"]["seconds_a_sample"]), "{:.2f}"),
)


def read_results(folder: Path) -> list[Result]:
    """The newest result for each pair, method, variant, seed, snapshot and planned length."""
    newest: dict[tuple[object, ...], Result] = {}
    results = [dict(json.loads(path.read_text())) for path in folder.glob("*.json")]
    for result in sorted(results, key=lambda result: str(result["measured_at"])):
        names = ("pair", "method", "variant", "seed", "minutes", "planned_minutes")
        newest[tuple(result.get(name, "") for name in names)] = result
    return list(newest.values())


def tables(results: Iterable[Result]) -> dict[str, list[str]]:
    """By pair, the lines of its table in Markdown."""
    by_pair: dict[str, list[Result]] = {}
    for result in results:
        by_pair.setdefault(str(result["pair"]), []).append(result)
    return {pair: _table(by_pair[pair]) for pair in sorted(by_pair)}


def _table(results: list[Result]) -> list[str]:
    layers = layers_of(results)
    columns = [
        *COLUMNS,
        *((f"distance {name} ↓", _distance_of(name), "{:.3g}") for name in layers),
    ]
    heads = ["method", "minutes", "seeds", *(head for head, *_ in columns)]
    rows: dict[tuple[str, float, float], list[Result]] = {}
    for result in results:
        key = (str(result["method"]), float(result["minutes"]), float(result["planned_minutes"]))
        rows.setdefault(key, []).append(result)
    cells_of_rows = []
    order: dict[str, int] = {name: place for place, name in enumerate(METHODS)}
    for key in sorted(rows, key=lambda key: (order[key[0]], *key[1:])):
        method, minutes, planned = key
        of_planned = "" if minutes == planned else f" of {planned:g}"
        cells = [method, f"{minutes:g}{of_planned}" if planned else "–", str(len(rows[key]))]
        cells += [mean_and_error(map(read, rows[key]), form) for _, read, form in columns]
        cells_of_rows.append(cells)
    return markdown(heads, cells_of_rows)


def markdown(heads: list[str], rows: Iterable[list[str]]) -> list[str]:
    """The lines of a table."""
    rule = "|---" * len(heads) + "|"
    head, *body = ("| " + " | ".join(cells) + " |" for cells in (heads, *rows))
    return [head, rule, *body]


def layers_of(results: Iterable[Result]) -> list[str]:
    """All layers that a distance was measured in."""
    return list(dict.fromkeys(name for result in results for name in _distances(result)))


def troubles(results: Iterable[Result]) -> list[str]:
    """Lines about trainings that went wrong and sets that were refused."""
    lines = []
    for result in results:
        made = result["made"]
        found = made.get("refused") or made.get("training", {}).get("trouble")
        if found:
            minutes, seed = f"{result['minutes']:g}", result["seed"]
            method = " ".join(filter(None, (result["method"], result.get("variant"))))
            lines.append(f"- {result['pair']}, {method}, {minutes} minutes, seed {seed}: {found}")
    return sorted(lines)


def mean_and_error(values: Iterable[float | None], form: str) -> str:
    """Mean, and ± its standard error where there are several seeds; – where nothing is known."""
    known = [value for value in values if value is not None]
    if not known:
        return "–"
    mean = form.format(float(np.mean(known)))
    if len(known) < 2:
        return mean
    return f"{mean} ± {form.format(float(np.std(known, ddof=1) / np.sqrt(len(known))))}"


def _distances(result: Result) -> dict[str, float]:
    metrics = result["metrics"]
    return dict(metrics["image_distance"]["layers"]) if metrics else {}


def _distance_of(name: str) -> Read:
    return lambda result: _distances(result).get(name)
