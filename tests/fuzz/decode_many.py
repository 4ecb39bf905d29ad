"""``python -m tests.fuzz.decode_many``: reads mutated uploads one after the other, under limits.

The limits are the decoding helper's, but one process reads many files: a helper a file would take
hours. Prints a line of JSON an input that neither was read nor refused, and a summary at the end.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import resource
import tempfile
import time
from collections import Counter
from pathlib import Path

from service.decoder import DecoderOptions
from service.decoding import DecodeAnswer, DecodeRequest, decode
from tests.fuzz.mutations import mutated, seed_files

SLOW_SECONDS = 5.0


def main() -> None:
    """Inputs ``first`` … ``first + count − 1`` of a seed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--progress", type=Path, required=True, help="names the input being read")
    chosen = parser.parse_args()
    seeds = seed_files()
    limits = DecoderOptions().limits()
    resource.setrlimit(resource.RLIMIT_AS, (limits.memory_bytes, limits.memory_bytes))
    outcomes: Counter[str] = Counter()
    slowest = 0.0
    with tempfile.TemporaryDirectory() as name:
        for number in range(chosen.first, chosen.first + chosen.count):
            chosen.progress.write_text(str(number))
            began = time.monotonic()
            outcome = _outcome(Path(name), seeds, random.Random(f"{chosen.seed} {number}"))
            slowest = max(slowest, time.monotonic() - began)
            outcomes[outcome] += 1
            if outcome.startswith("fault"):
                print(json.dumps({"input": number, "outcome": outcome}), flush=True)
    summary = {"outcomes": outcomes, "slowest_seconds": slowest, "peak_bytes": _peak_bytes()}
    print(json.dumps(summary), flush=True)


def make_input(seeds: dict[str, bytes], choose: random.Random) -> dict[str, tuple[str, bytes]]:
    """An upload: the files' names and contents by role, at least one of them mutated."""
    contents = list(seeds.values())
    spoiled = choose.choice(("image", "mask"))
    found = {}
    for role in ("image", "mask"):
        name = choose.choice(sorted(seeds)) if role == spoiled else {"mask": "mask.png"}.get(role)
        name = name or "rgb.png"
        content = seeds[name]
        found[role] = (name, mutated(content, contents, choose) if role == spoiled else content)
    return found


def _outcome(folder: Path, seeds: dict[str, bytes], choose: random.Random) -> str:
    files = make_input(seeds, choose)
    for role, (_, content) in files.items():
        (folder / role).write_bytes(content)
    request = DecodeRequest(
        limits=DecoderOptions().limits(),
        client_names={role: name for role, (name, _) in files.items()},
        read={"max_pixels": 50_000_000},
        training={},
        has_gpu=False,
        max_output_px=1024,
        keep=False,
    )
    try:
        answer: DecodeAnswer = decode(folder, request)
    except MemoryError:
        return "memory"
    except Exception as error:  # noqa: BLE001 (what is looked for)
        return f"fault: {type(error).__name__}: {error}"[:200]
    return answer.refusal.code if answer.refusal else "read"


def _peak_bytes() -> int:
    """Resident at most, of this program: ``ru_maxrss`` begins with its parent's."""
    (line,) = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(line) * 1024


if __name__ == "__main__":
    main()
