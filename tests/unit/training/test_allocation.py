"""Keeping freed memory, in a process of its own: it can't be taken back."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import resource
import torch
from osmis_core.training.allocation import keep_freed_memory

assert keep_freed_memory()


def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


for use in range(25):
    if use == 20:
        before = faults()
    torch.zeros(40 << 20, dtype=torch.uint8)
print(faults() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator only")
def test_memory_is_cleared_once_and_not_at_every_use() -> None:
    pages = (40 << 20) // 4096
    told = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, check=True).stdout
    assert int(told) < pages / 2
