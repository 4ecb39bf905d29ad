"""``python -m bench.quality [train|evaluate|report|all]``; resumable, one piece at a time."""

from __future__ import annotations

import argparse

from bench.quality.evaluate import evaluate
from bench.quality.make import make_set, set_of
from bench.quality.report import draw_sheet, write_report
from bench.quality.setup import METHODS, PAIRS, PROTOTYPE, Run, make_run


def main() -> None:
    """Runs one piece or all of them."""
    parser = argparse.ArgumentParser(prog="python -m bench.quality", description=__doc__)
    parser.add_argument(
        "command", nargs="?", default="all", choices=("train", "evaluate", "report", "all")
    )
    parser.add_argument("--pair", action="append", choices=sorted(PAIRS), help="default: all here")
    parser.add_argument("--method", action="append", choices=METHODS, help="default: all")
    parser.add_argument("--minutes", type=float, default=6.0, help="of training")
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    pairs = chosen.pair or [name for name, (image, _) in PAIRS.items() if image.exists()]
    methods = chosen.method or METHODS
    if not PROTOTYPE.exists():
        print(f"no prototype to compare with: {PROTOTYPE} is not here")
        methods = [method for method in methods if method != "prototype"]
    runs = [
        make_run(pair, method, chosen.seed, chosen.minutes) for pair in pairs for method in methods
    ]
    if chosen.command in {"train", "all"}:
        for run in runs:
            make_set(run)
    if chosen.command in {"evaluate", "all"}:
        for run in runs:
            _evaluate(run)
    if chosen.command in {"report", "all"}:
        print(write_report())


def _evaluate(run: Run) -> None:
    place = set_of(run)
    if place is None:
        print(f"{run.key}: no set yet, `python -m bench.quality train` makes it")
        return
    result = evaluate(run, place)
    draw_sheet(run, place)
    shown = ("unet_miou", "diversity", "layout_iou", "novel_share", "fault_share")
    print(run.key, " ".join(f"{key} {result[key]:.3f}" for key in shown), flush=True)


if __name__ == "__main__":
    main()
