"""Runs side by side, each in a process of its own with one thread."""

from __future__ import annotations

import os
import threading
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context

from bench.quality.evaluate import measure
from bench.quality.keys import Run
from bench.quality.make import is_made, make_sets, set_of
from bench.quality.setup import Effort
from bench.quality.sheets import draw_sheet
from osmis_core.training.allocation import keep_freed_memory

PARENT_CHECK_SECONDS = 0.5


def run_all(runs: list[Run], effort: Effort, stage: str, processes: int) -> int:
    """Works on all runs; one that fails does not stop the others.

    Args:
        runs: what to do.
        effort: how thoroughly sets are judged.
        stage: ``make`` the sets, ``evaluate`` those there are, or ``all``.
        processes: at once.

    Returns:
        How many failed.
    """
    # inherited by the processes, which load numba and torch only then
    os.environ.update(OMP_NUM_THREADS="1", NUMBA_NUM_THREADS="1")
    failed = 0
    context = get_context("spawn")
    with ProcessPoolExecutor(
        processes,
        mp_context=context,
        initializer=end_with,
        initargs=(os.getpid(),),
        max_tasks_per_child=1,
    ) as pool:
        waiting = {pool.submit(work, run, effort, stage): run for run in runs}
        for done in as_completed(waiting):
            error = done.exception()
            if error is not None:
                failed += 1
                print(f"{waiting[done].folder.name}: {type(error).__name__}: {error}", flush=True)
    return failed


def end_with(parent: int) -> None:
    """Ends this process soon after its parent has gone, even if that was killed.

    Args:
        parent: its process id.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(PARENT_CHECK_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def work(run: Run, effort: Effort, stage: str) -> None:
    """One run, from training to the contact sheets; what is there already is not done again."""
    if stage in {"make", "all"}:
        keep_freed_memory()  # as a worker's training process does
        make_sets(run)
    if stage == "make":
        return
    for snapshot in run.snapshots:
        if snapshot.result_path(effort).exists():
            continue
        if not is_made(snapshot):
            print(f"{snapshot.name}: no set yet", flush=True)
            continue
        place = set_of(snapshot)
        if place is not None:
            draw_sheet(snapshot, place, effort)
        measure(snapshot, place, effort)
        print(f"{snapshot.name}: measured", flush=True)
