"""A bench that is killed takes its trainings along."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[3]
PROGRAM = """
import os, subprocess, sys, time
child = '''
import os, sys, time
from bench.quality.jobs import end_with
end_with(int(sys.argv[1]))
print("ready", flush=True)
time.sleep(60)
'''
started = subprocess.Popen([sys.executable, "-c", child, str(os.getpid())], stdout=subprocess.PIPE)
started.stdout.readline()
print(started.pid, flush=True)
time.sleep(60)
"""


def test_a_run_ends_with_the_bench() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as bench:
        assert bench.stdout is not None
        run = int(bench.stdout.readline())
        assert not _is_over(run)
        bench.kill()
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline and not _is_over(run):
            time.sleep(0.1)
    assert _is_over(run)


def _is_over(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return True
    return state == "Z"
