"""Errors of the job model: each has a stable ``code`` and a ``hint`` that says what to do.

They are named for the state of the world, as the API's codes are (``store_away``), hence no suffix.
"""

from __future__ import annotations

import errno
import re

_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_OF_RUST = re.compile(r"\(os error (\d+)\)")


def is_out_of_room(error: BaseException) -> bool:
    """Whether a disk, a quota or a limit on file sizes was at its end.

    Also of errors of libraries in Rust (safetensors), which have the number in their text.
    """
    if isinstance(error, OSError):
        return error.errno in _NO_ROOM
    named = _OF_RUST.search(str(error))
    return named is not None and int(named[1]) in _NO_ROOM


class JobsError(Exception):
    """Base of all errors raised by ``jobs``.

    Attributes:
        code: stable machine-readable word.
        hint: one sentence for a human: what to do about it.
    """

    code = "jobs_error"
    hint = ""

    def __init__(self, detail: str, *, code: str | None = None, hint: str | None = None) -> None:
        super().__init__(detail)
        self.code = code or self.code
        self.hint = hint or self.hint


class StoreAway(JobsError):  # noqa: N818
    """Valkey or the object store does not answer. Nothing was accepted: HTTP 503."""

    code = "store_away"
    hint = "The state store or the object store does not answer. Try again in a minute."


class StoreFull(JobsError):  # noqa: N818
    """Valkey is at its memory limit or the object store's disk is full: HTTP 503."""

    code = "store_full"
    hint = "The service has no room left. Delete old jobs, or ask the operator for more space."


class ObjectMissing(JobsError):  # noqa: N818
    """There is no object under that key."""

    code = "object_missing"
    hint = "The object was deleted or never written."


class RecordTooNew(JobsError):  # noqa: N818
    """A newer OnePair has written it, in a way that this one does not know."""

    code = "record_too_new"
    hint = "Upgrade this OnePair to the newest of those that share the stores."


class UnreadableResult(JobsError):  # noqa: N818
    """``result.json`` is damaged: what it names can't be told from what may go."""

    code = "unreadable_result"
    hint = "Look at the object store's disks; nothing was removed."


class InvalidKey(JobsError):  # noqa: N818
    """An object key that is not one of ours: traversal, absolute path, foreign characters."""

    code = "invalid_key"
    hint = "Object keys are lower-case path segments of a-z, 0-9, '_', '.', and '-'."


class ValkeyBusy(JobsError):  # noqa: N818
    """Another server already uses this data folder."""

    code = "data_dir_in_use"
    hint = "Another OnePair uses this data folder. Stop it, or choose another --data-dir."


class ValkeyFailed(JobsError):  # noqa: N818
    """The embedded Valkey could not be started."""

    code = "valkey_failed"
    hint = "See valkey.log in the data folder, or set ONEPAIR_VALKEY_URL to a server of your own."
