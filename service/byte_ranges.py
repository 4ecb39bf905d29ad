"""Range requests (RFC 9110, section 14) for objects that are streamed through the gateway."""

from __future__ import annotations

import re
from dataclasses import dataclass

_ONE_RANGE = re.compile(r"\s*bytes\s*=\s*(\d{0,18})\s*-\s*(\d{0,18})\s*", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class ByteRange:
    """Bytes ``[start, end)`` of a file."""

    start: int
    end: int


class RangeNotSatisfiableError(Exception):
    """The range begins beyond the file's end."""


def parse_range(header: str | None, size_bytes: int) -> ByteRange | None:
    """The one range that is asked for.

    Args:
        header: the ``Range`` header.
        size_bytes: the file's length.

    Returns:
        None where the whole file is the answer: no header, another unit, several ranges, or a
        header that is malformed; the RFC lets a server ignore those.

    Raises:
        RangeNotSatisfiableError: no byte of the file lies in it.
    """
    match = _ONE_RANGE.fullmatch(header or "")
    if match is None or match[1] == match[2] == "":
        return None
    if match[1] == "":
        start, end = max(0, size_bytes - int(match[2])), size_bytes
    else:
        start = int(match[1])
        end = int(match[2]) + 1 if match[2] else size_bytes
        if match[2] and end <= start:
            return None
    end = min(end, size_bytes)
    if start >= end:
        raise RangeNotSatisfiableError
    return ByteRange(start=start, end=end)
