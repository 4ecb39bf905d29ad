"""Where a reader of an event stream stands: can it go on, or has it missed something?"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from jobs.record import Event, Job, SampleSet

START = "0-0"
# What a reader of a task without a stream (restored, or long finished) has seen: its record.
RECORD_ONLY = "0-1"
_EVENT_ID = re.compile(r"([0-9]{1,20})(?:-([0-9]{1,20}))?")


def parse_event_id(event_id: str) -> tuple[int, int] | None:
    """A stream id as two numbers; None when it is not one of ours."""
    match = _EVENT_ID.fullmatch(event_id)
    return None if match is None else (int(match[1]), int(match[2] or 0))


def missed(after_id: str, stream: Mapping[str, Any] | None) -> str | None:
    """The id to go on from after a ``reset``, or None when no event was missed.

    Args:
        after_id: the last id the reader has seen; ``START`` for none.
        stream: the reply of XINFO STREAM; None when there is no stream.
    """
    after = parse_event_id(after_id)
    if stream is None or stream["last-entry"] is None:
        return None if after_id == RECORD_ONLY else RECORD_ONLY
    first_id, last_id = stream["first-entry"][0], stream["last-entry"][0]
    first, last = parse_event_id(first_id), parse_event_id(last_id)
    if after is None or first is None or last is None or after > last:
        return str(last_id)
    something_seen = after > (0, 0)
    something_dropped = stream["entries-added"] > stream["length"]
    if after < first and (something_seen or something_dropped):
        return str(last_id)
    return None


def reset_event(event_id: str, record: Job | SampleSet) -> Event:
    """The whole record, for a reader that has missed events.

    ``Job.model_validate(event.data)`` (or ``SampleSet``) gives the record again.
    """
    return Event(id=event_id, type="reset", data=record.model_dump(mode="json"))
