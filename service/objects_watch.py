"""Whether the object store answers: asked now and then, so that nobody who wants to know waits."""

from __future__ import annotations

import time

from jobs.errors import JobsError
from jobs.objects import ObjectStore

LOOK_SECONDS = 15.0
_PATIENCE_SECONDS = 3 * LOOK_SECONDS


class ObjectsWatch:
    """What the last look has found.

    Args:
        objects: the store.
    """

    def __init__(self, objects: ObjectStore) -> None:
        self._objects = objects
        self._is_away = False
        self._answered = time.monotonic()

    @property
    def is_up(self) -> bool:
        """False also while a look gets no answer at all for too long."""
        return not self._is_away and time.monotonic() - self._answered < _PATIENCE_SECONDS

    def look(self) -> None:
        """Asks; may take as long as the store's client is patient."""
        try:
            self._objects.ping()
        except JobsError:
            self._is_away = True
        else:
            self._is_away, self._answered = False, time.monotonic()
