"""docs/reliability.md as a model: its table of states and events, read from the page itself."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "reliability.md"
STATES = [
    *("absent", "queued", "delayed", "running", "lapsed", "cancelling", "cancelling-lapsed"),
    *("succeeded", "failed", "cancelled", "deleted"),
]
JOBS_ONLY = {"create", "publish", "ask-to-finish"}


@dataclass(frozen=True)
class Row:
    event: str
    state: str
    when: str
    following: str
    answer: str

    def __str__(self) -> str:
        return " ".join(part for part in (self.event, self.state, self.when) if part)


def table_rows(width: int, header: str) -> list[list[str]]:
    rows = [
        [cell.strip() for cell in line.strip().strip("|").split("|")]
        for line in PAGE.read_text(encoding="utf-8").splitlines()
        if line.startswith("|")
    ]
    start = next(at for at, row in enumerate(rows) if row[:3] == header.split()) + 2
    found = []
    for row in rows[start:]:
        if len(row) != width or not row[0].startswith("`"):
            break
        found.append(row)
    return found


def words(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def read_rows() -> list[Row]:
    found = []
    for event, states, when, following, answer, _ in table_rows(6, "Event State When"):
        for state in words(states):
            after = state if following == "=" else words(following)[0]
            found.append(Row(words(event)[0], state, when, after, words(answer)[0]))
    return found


ROWS = read_rows()
BY_EVENT: dict[tuple[str, str], list[Row]] = defaultdict(list)
for one in ROWS:
    BY_EVENT[one.event, one.state].append(one)
EVENTS = sorted({row.event for row in ROWS})
SET_ROWS = [row for row in ROWS if row.event not in JOBS_ONLY]
