"""``python -m tests.chaos --seed N``: exit status 1 if a promise was broken."""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path

from tests.chaos.run import as_json, run


def main() -> None:
    """Runs once and prints the summary; data and logs stay only where something broke."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=15.0, help="of faults at most")
    parser.add_argument("--jobs", type=int, default=20)
    parser.add_argument("--out", type=Path, help="takes the summary")
    chosen = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="onepair-chaos-"))
    print(f"data and logs: {folder}", flush=True)
    summary = run(folder, seed=chosen.seed, minutes=chosen.minutes, jobs=chosen.jobs)
    print(as_json(summary))
    if chosen.out is not None:
        chosen.out.parent.mkdir(parents=True, exist_ok=True)
        chosen.out.write_text(as_json(summary) + "\n")
    if summary.broken:
        raise SystemExit(f"{len(summary.broken)} promises broken; see {folder}")
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
