"""Whether the object store answers: asked now and then, so that nobody who wants to know waits."""

from __future__ import annotations

import threading
import time

from jobs.errors import StoreAway
from jobs.objects import ObjectStore

LOOK_SECONDS = 15.0
_PATIENCE_SECONDS = 3 * LOOK_SECONDS
SILENT_SECONDS = 6.0
"""Longer than one try of a look: what is merely slow is not silent."""


class ObjectsWatch:
    """What the last look has found.

    Args:
        objects: the store.
    """

    def __init__(self, objects: ObjectStore) -> None:
        self._objects = objects
        self._looking = threading.Lock()
        self._is_away = self._was_silent = False
        self._answered = time.monotonic()
        self._asked: float | None = None

    @property
    def is_up(self) -> bool:
        """False also while a look gets no answer at all for too long."""
        return not self._is_away and time.monotonic() - self._answered < _PATIENCE_SECONDS

    @property
    def is_silent(self) -> bool:
        """Whether it leaves callers waiting, rather than refuse them: so they need not try."""
        asked = self._asked
        if asked is not None and time.monotonic() - asked > SILENT_SECONDS:
            return True
        return self._was_silent

    def look(self) -> None:
        """Asks, if nobody else does; may take as long as the store's client is patient.

        Raises:
            JobsError: what the store said, or ``StoreAway`` where another look waits for it.
        """
        if not self._looking.acquire(blocking=False):
            if self.is_silent or not self.is_up:
                raise StoreAway("the object store does not answer")
            return
        self._asked = time.monotonic()
        try:
            self._objects.ping()
        except Exception:
            self._is_away = True
            self._was_silent = time.monotonic() - self._asked > SILENT_SECONDS
            raise
        else:
            self._is_away = self._was_silent = False
            self._answered = time.monotonic()
        finally:
            self._asked = None
            self._looking.release()
