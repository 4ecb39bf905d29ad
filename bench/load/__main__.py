"""``python -m bench.load``: rates beside the bare route, all at once, large stores, workers."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from bench.load.rates import measure_rates
from bench.load.sizes import measure_sizes
from bench.load.together import measure_together
from bench.load.workers import measure_workers

MEASUREMENTS = {
    "rates": measure_rates,
    "together": measure_together,
    "sizes": measure_sizes,
    "workers": measure_workers,
}


def main() -> None:
    """Runs one measurement or all of them, six minutes together."""
    parser = argparse.ArgumentParser(prog="python -m bench.load", description=__doc__)
    parser.add_argument("what", nargs="*", help=f"of {', '.join(MEASUREMENTS)}; default: all")
    chosen = parser.parse_args().what or list(MEASUREMENTS)
    for name in chosen:
        if name not in MEASUREMENTS:
            parser.error(f"{name} is not one of {', '.join(MEASUREMENTS)}")
        with tempfile.TemporaryDirectory(prefix="onepair-load-") as folder:
            MEASUREMENTS[name](Path(folder))


if __name__ == "__main__":
    main()
