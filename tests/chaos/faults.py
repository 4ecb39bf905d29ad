"""What is done to a service, by lot: the seed draws kinds and times; what they meet is chance."""

from __future__ import annotations

import heapq
import itertools
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable

from jobs.errors import StoreAway
from tests.chaos.stack import LEASE_SECONDS, WORKERS, Stack

PAUSE_SECONDS = (4.0, 16.0)
"""Between two faults."""
DOWN_SECONDS = (0.2, 4.0)
LONG_DOWN_SECONDS = LEASE_SECONDS + 4.0
"""Longer than a lease: one outage in six of Valkey and of the S3 server."""
AGAIN_SHARE = 0.3
"""Of killed parts that are killed once more as soon as they are back."""
SPARED_STRIKES = 2
"""A third crash without progress is what ends a poison job: a job that has two is spared."""
KILLED = ("gateway", *WORKERS, "valkey", "store")


class Faults:
    """Brings faults over a stack and repairs it again; call ``tick`` from the main thread often.

    Args:
        stack: the service.
        seed: of the lot.
    """

    def __init__(self, stack: Stack, seed: int) -> None:
        self.stack = stack
        self.done: Counter[str] = Counter()
        self.own_ends: Counter[str] = Counter()
        self._random = random.Random(seed)
        self._order = itertools.count()
        self._repairs: list[tuple[float, int, str, Callable[[], None]]] = []
        self._next = time.monotonic() + self._random.uniform(*PAUSE_SECONDS)
        self._faults: list[Callable[[], None]] = [
            *(lambda name=name: self._kill(name) for name in KILLED),
            *(lambda name=name: self._kill_child(name) for name in WORKERS),
            *(lambda name=name: self._pause(name) for name in WORKERS),
            *(lambda name=name: self._stop(name) for name in WORKERS),
            self._lose_doorbells,
            self._repeat_doorbells,
        ]

    def tick(self) -> None:
        """Starts what has ended by itself, repairs what is due, draws a fault if one is due."""
        self._revive()
        while self._repairs and self._repairs[0][0] <= time.monotonic():
            heapq.heappop(self._repairs)[3]()
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + self._random.uniform(*PAUSE_SECONDS)
            self._random.choice(self._faults)()

    def calm(self) -> None:
        """No more faults: repairs what is due and starts what has ended by itself."""
        self._next = float("inf")
        self.tick()

    @property
    def is_whole(self) -> bool:
        """Whether nothing is left to repair."""
        return not self._repairs

    def _later(self, seconds: float, name: str, repair: Callable[[], None]) -> None:
        heapq.heappush(self._repairs, (time.monotonic() + seconds, next(self._order), name, repair))

    def _is_under_repair(self, name: str) -> bool:
        return any(waiting == name for _, _, waiting, _ in self._repairs)

    def _is_target(self, name: str) -> bool:
        return self.stack.is_up(name) and not self._is_under_repair(name)

    def _kill(self, name: str) -> None:
        if not self._is_target(name):
            return
        self.stack.kill(name)
        self.done[f"kill {name}"] += 1
        seconds = self._random.uniform(*DOWN_SECONDS)
        if name in {"valkey", "store"} and self._random.random() < 1 / 6:
            seconds = LONG_DOWN_SECONDS
        again = self._random.random() < AGAIN_SHARE

        def repair() -> None:
            self.stack.start_again(name)
            if again:
                self._later(self._random.uniform(0.0, 2.0), "", lambda: self._kill(name))

        self._later(seconds, name, repair)

    def _kill_child(self, name: str) -> None:
        pid = self.stack.child_of(name) if self._is_target(name) else None
        if pid is None or self._has_spared():
            return
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return
        self.done[f"kill child of {name}"] += 1

    def _has_spared(self) -> bool:
        """Whether some task that runs could die of a strike more; unknown while Valkey is down."""
        try:
            jobs = self.stack.store().list_jobs(limit=1_000).items
            tasks = [*jobs, *(one for job in jobs for one in self.stack.store().list_sets(job.id))]
        except StoreAway:
            return True
        return any(not task.status.terminal and task.strikes >= SPARED_STRIKES for task in tasks)

    def _pause(self, name: str) -> None:
        """Longer than its lease: who wakes up is no longer the holder."""
        if not self._is_target(name):
            return
        self.stack.pause(name)
        self.done[f"pause {name}"] += 1
        self._later(LEASE_SECONDS + 3.0, name, lambda: self.stack.wake(name))

    def _stop(self, name: str) -> None:
        if not self._is_target(name):
            return
        self.stack.stop(name)
        self.done[f"SIGTERM {name}"] += 1
        self._later(self._random.uniform(*DOWN_SECONDS), name, lambda: self._start(name))

    def _start(self, name: str) -> None:
        self.stack.start_again(name)

    def _lose_doorbells(self) -> None:
        if self._is_target("valkey"):
            self.stack.lose_doorbells()
            self.done["doorbells lost"] += 1

    def _repeat_doorbells(self) -> None:
        if self._is_target("valkey"):
            self.stack.repeat_doorbells()
            self.done["doorbells repeated"] += 1

    def _revive(self) -> None:
        """A part that has ended by itself is started again, as compose would."""
        for name in KILLED:
            if not self.stack.is_up(name) and not self._is_under_repair(name):
                self.own_ends[name] += 1
                self._later(1.0, name, lambda name=name: self._start(name))
