"""What a store of 10 000 jobs costs beside one of 100: listing a page, claiming, reaping."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from bench.load.servers import add_job
from bench.measurement import report
from jobs.record import Kind
from jobs.settings import Settings
from jobs.state import TaskStore, connect
from jobs.valkey import EmbeddedValkey

SMALL, LARGE = 100, 10_000
ROUNDS = 40


def measure_sizes(folder: Path) -> None:
    """Two Valkeys side by side, asked in turn."""
    with ExitStack() as stack:
        stores = []
        for count in (SMALL, LARGE):
            valkey = stack.enter_context(EmbeddedValkey(folder / str(count)))
            settings = Settings.model_validate(
                {
                    "data_dir": folder,
                    "valkey_url": valkey.url,
                    "reap_lock_seconds": 1e-6,
                    "max_jobs_per_key": 2 * LARGE,
                }
            )
            store = TaskStore(connect(valkey.url), settings)
            for _ in range(count):
                add_job(store)
            stores.append(store)
        for name, work in (("list a page", _list), ("claim, release", _claim), ("reap", _reap)):
            pairs = [[_milliseconds(work, store) for store in stores] for _ in range(ROUNDS)]
            small, large = (median(times) for times in zip(*pairs, strict=True))
            report(
                f"{name}: {small:.2f} ms with {SMALL} jobs, {large:.2f} ms with {LARGE}",
                measured="store_size",
                work=name,
                small_ms=small,
                large_ms=large,
                ratio=large / small,
            )


def _list(store: TaskStore) -> None:
    assert len(store.list_jobs(limit=50).items) == 50


def _claim(store: TaskStore) -> None:
    claim = store.claim(Kind.JOB)
    assert claim is not None
    store.release(claim)


def _reap(store: TaskStore) -> None:
    assert not store.reap(waiting_jobs=SMALL).busy


def _milliseconds(work: Callable[[TaskStore], None], store: TaskStore) -> float:
    time.sleep(0.003)  # the lock of the last round ends
    began = time.perf_counter()
    work(store)
    return 1e3 * (time.perf_counter() - began)
