"""What runs on this machine, from ``/proc``."""

from __future__ import annotations

from pathlib import Path


def processes() -> dict[int, str]:
    """Command lines of living processes by id."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            state = (entry / "stat").read_text().rsplit(")", 1)[1].split()[0]
            line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if state != "Z":
            found[int(entry.name)] = line
    return found


def descendants(pid: int) -> dict[int, str]:
    """Processes below ``pid``, by id."""
    parents: dict[int, int] = {}
    alive = processes()
    for one in alive:
        try:
            fields = Path(f"/proc/{one}/stat").read_text().rsplit(")", 1)[1].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        parents[one] = int(fields[1])
    found: set[int] = set()
    grown = {pid}
    while grown:
        grown = {one for one, parent in parents.items() if parent in grown} - found
        found |= grown
    return {one: alive[one] for one in found}


def processes_with(variable: str) -> dict[int, str]:
    """Living processes with ``NAME=value`` in their environment, by id."""
    found = {}
    for pid, line in processes().items():
        try:
            environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue
        if variable.encode() in environment:
            found[pid] = line
    return found
