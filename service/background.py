"""What the gateway does beside its requests: reap, ring, tell webhooks, sweep once a day."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import structlog

from jobs.errors import JobsError
from jobs.housekeeping import run_round, sweep_orphans_if_due
from service.context import Services
from service.objects_watch import LOOK_SECONDS
from service.webhooks import Webhooks

_LOG = structlog.get_logger(__name__)
# Whether a sweep is due is asked this often; that a sweep runs once a day is the store's to say.
_LOOK_SECONDS = 3_600.0
Result = TypeVar("Result")


@asynccontextmanager
async def housekeeping(services: Services) -> AsyncIterator[None]:
    """Keep house as long as the block runs. A sweep may take long, so it never delays REAP."""
    stopping = threading.Event()
    tasks = [
        asyncio.create_task(_reap(services)),
        asyncio.create_task(_sweep(services, stopping)),
        asyncio.create_task(_look(services)),
    ]
    if services.settings.webhooks:
        tasks.append(asyncio.create_task(Webhooks(services.settings, services.tasks).run()))
    try:
        yield
    finally:
        stopping.set()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _reap(services: Services) -> None:
    """REAP and ring every ``reap_seconds``; whoever is first in a round does its work."""
    while True:
        await asyncio.sleep(services.settings.reap_seconds)
        await _outlived(
            "housekeeping", lambda: run_round(services.tasks, services.store, services.queue)
        )


async def _look(services: Services) -> None:
    """The watch itself remembers that a store is away, so that is worth no warning."""
    while True:
        await _outlived("look", services.objects_watch.look, warn=_LOG.debug)
        await asyncio.sleep(LOOK_SECONDS)


async def _sweep(services: Services, stopping: threading.Event) -> None:
    """Some minutes after the start, then again whenever it is due."""
    await asyncio.sleep(services.settings.sweep_delay_seconds)
    while True:
        count = await _outlived(
            "sweep",
            lambda: sweep_orphans_if_due(services.tasks, services.store, stopping.is_set),
        )
        if count:
            _LOG.info("orphans_swept", prefixes=count)
        await asyncio.sleep(min(_LOOK_SECONDS, services.settings.sweep_seconds))


async def _outlived(
    name: str, call: Callable[[], Result], *, warn: Callable[..., object] = _LOG.warning
) -> Result | None:
    """Its result; None where it failed, which is logged: one round must not end all later ones."""
    try:
        return await _in_thread(call)
    except (JobsError, OSError) as error:
        warn(f"{name}_failed", error=repr(error))
    except Exception:  # noqa: BLE001 (whatever it meets)
        _LOG.exception(f"{name}_broke")
    return None


async def _in_thread(call: Callable[[], Result]) -> Result:
    """Run ``call`` in a thread. When cancelled, see its end: it uses what is closed next."""
    running = asyncio.ensure_future(asyncio.to_thread(call))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.gather(running, return_exceptions=True)
        raise
