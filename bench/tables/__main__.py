"""``python -m bench.tables``: Tables 3 and 4 of the paper; resumable, run by run."""

from __future__ import annotations

import argparse
import os

from bench.quality.jobs import run_all
from bench.quality.setup import is_here
from bench.tables.report import write_report
from bench.tables.setup import EFFORT, PAIRS, TABLE_3, TABLE_4, run_of


def main() -> None:
    """Trains what is missing, measures it and writes both tables."""
    parser = argparse.ArgumentParser(prog="python -m bench.tables", description=__doc__)
    parser.add_argument("--pair", action="append", choices=PAIRS, help="default: all here")
    parser.add_argument("--seed", action="append", type=int, help="default: 0")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="a thread each")
    parser.add_argument("--report", action="store_true", help="write what is measured, no more")
    chosen = parser.parse_args()
    failed = 0
    if not chosen.report:
        here = list(filter(is_here, PAIRS))
        runs = [
            run_of(pair, row, seed)
            for seed in chosen.seed or [0]
            for pair in chosen.pair or here
            for row in (*TABLE_3, *TABLE_4)
        ]
        failed = run_all(list(dict.fromkeys(runs)), EFFORT, "all", chosen.jobs)
    print(write_report())
    if failed:
        raise SystemExit(f"{failed} of the runs failed; run it again for what is missing.")


if __name__ == "__main__":
    main()
