"""``python -m bench.quality [make|evaluate|report|all]``; resumable, run by run."""

from __future__ import annotations

import argparse
import os

from bench.quality.jobs import run_all
from bench.quality.keys import make_run
from bench.quality.report import write_report
from bench.quality.setup import (
    FULL,
    METHODS,
    MINUTES,
    ON_DEVICE,
    ON_GPU,
    PAIRS,
    PROTOTYPE,
    SMALL,
    SMALL_MINUTES,
    Method,
    is_here,
)


def main() -> None:
    """Runs one piece or all of them."""
    parser = _parser()
    chosen = parser.parse_args()
    if chosen.small and chosen.device != "cpu":
        parser.error("--small is for CPUs")
    effort = ON_GPU if chosen.device == "cuda" else SMALL if chosen.small else FULL
    pairs = chosen.pair or (["coins"] if chosen.small else list(filter(is_here, PAIRS)))
    methods = chosen.method or [m for m in METHODS if m != "prototype" or effort is FULL]
    if not PROTOTYPE.exists() and "prototype" in methods:
        print(f"no prototype to compare with: {PROTOTYPE} is not here")
        methods = [method for method in methods if method != "prototype"]
    minutes = tuple(chosen.minutes or (SMALL_MINUTES if chosen.small else MINUTES))
    failed = 0
    if chosen.command != "report":
        runs = [
            make_run(pair, method, seed, minutes, device=device_of(method, chosen.device))
            for seed in chosen.seed or [0]
            for pair in pairs
            for method in methods
        ]
        jobs = chosen.jobs or (1 if chosen.device == "cuda" else os.cpu_count() or 1)
        failed = run_all(runs, effort, chosen.command, jobs)
    if chosen.command in {"report", "all"}:
        print(write_report(effort))
    if failed:
        raise SystemExit(f"{failed} of the runs failed; run it again for what is missing.")


def device_of(method: Method, device: str) -> str:
    """What a method is trained or made on, where this device is asked for."""
    return device if method in ON_DEVICE else "cpu"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.quality", description=__doc__)
    parser.add_argument(
        "command", nargs="?", default="all", choices=("make", "evaluate", "report", "all")
    )
    parser.add_argument(
        "--small",
        action="store_true",
        help="coins, 3 minutes, one seed, one U-Net a set, without the prototype: ten minutes",
    )
    parser.add_argument("--pair", action="append", choices=sorted(PAIRS), help="default: all here")
    parser.add_argument("--method", action="append", choices=METHODS, help="default: all")
    parser.add_argument(
        "--minutes",
        action="append",
        type=float,
        help="of training, when it is looked at; the last is what it's planned for. Default: 3, 10",
    )
    parser.add_argument(
        "--device", choices=("cpu", "cuda"), default="cpu", help="of trainings; has its own table"
    )
    parser.add_argument("--seed", action="append", type=int, help="default: 0")
    parser.add_argument(
        "--jobs", type=int, help="runs at once, a thread each; default: the cores, one on a GPU"
    )
    return parser


if __name__ == "__main__":
    main()
