"""Compiled loops over bands of rows, several bands at once.

The bands are cut the same way whatever the number of threads, and no band reads what another
one writes, so results don't depend on the threads. Plain threads around compiled loops that
release the GIL: a compiler-run pool would neither survive a fork nor allow two callers.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Self

BAND_ROWS = 16


class RowBands:
    """Runs a compiled function over bands of rows, on a pool that lives as long as the context."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._pool: ThreadPoolExecutor | None = None

    def __enter__(self) -> Self:
        if self._threads > 1:
            self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="bands")
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None

    def run(
        self, function: Callable[..., None], rows: int, *arguments: Any, band: int = BAND_ROWS
    ) -> None:
        """Calls ``function(first_row, end_row, *arguments)`` for every band of ``rows``."""
        starts = range(0, rows, band)
        if self._pool is None:
            for start in starts:
                function(start, min(rows, start + band), *arguments)
            return
        calls = [
            self._pool.submit(function, start, min(rows, start + band), *arguments)
            for start in starts
        ]
        for call in calls:
            call.result()
