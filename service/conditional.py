"""Conditional requests: entity tags of records, and the list a client sends."""

from __future__ import annotations

import re

from jobs.record import Task

_RECORD_TAG = re.compile(r'(?:W/)?"(\d+)-(\d+)"')


def record_etag(task: Task) -> str:
    """Weak tag of a record: its version, and its place in the line, which changes by itself."""
    return f'W/"{task.version}-{task.queue_position or 0}"'


def etag_matches(if_none_match: str | None, etag: str) -> bool:
    """Whether the client has this representation (weak comparison, RFC 9110, section 8.8.3.2)."""
    if if_none_match is None:
        return False
    if if_none_match.strip() == "*":
        return True
    tags = {tag.strip().removeprefix("W/") for tag in if_none_match.split(",")}
    return etag.removeprefix("W/") in tags


def known_version(if_none_match: str | None) -> int | None:
    """The record's version that the client names in ``If-None-Match``; None: none of ours."""
    match = _RECORD_TAG.fullmatch((if_none_match or "").strip())
    return None if match is None else int(match[1])
