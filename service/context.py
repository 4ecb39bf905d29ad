"""What the routes work with: built once a process, handed over by FastAPI's dependencies."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import redis
import redis.asyncio
from fastapi import Depends, Request
from fastapi import Path as PathParameter

from jobs.errors import StoreAway
from jobs.keys import is_job_id, is_set_id
from jobs.objects import JUST_A_LOOK, SOMEBODY_WAITS, ObjectStore, open_store
from jobs.queue import Queue
from jobs.settings import Settings
from jobs.state import AsyncTaskReader, TaskStore, connect, connect_async
from service.access import CallerDep, Gatekeeper
from service.decoder import Decoder, DecoderOptions
from service.objects_watch import ObjectsWatch
from service.problems import ProblemError
from service.rendered import RenderedJobs

_NVIDIA_DEVICE = Path("/dev/nvidiactl")


@dataclass(frozen=True, kw_only=True)
class Services:
    """The gateway's collaborators.

    Attributes:
        settings: as the process was started.
        tasks: the state machine; its calls block, so they run in threads.
        reader: the same state for those who wait: long polls and event streams.
        rendered: jobs as pollers see them.
        store: inputs, archives, pictures; blocking too. Routes take ``objects``.
        objects_watch: whether they can be had, without waiting.
        queue: the doorbell.
        decoder: reads uploads in helper processes.
        gatekeeper: knows callers by their API keys.
    """

    settings: Settings
    tasks: TaskStore
    reader: AsyncTaskReader
    rendered: RenderedJobs
    store: ObjectStore
    objects_watch: ObjectsWatch
    queue: Queue
    decoder: Decoder
    gatekeeper: Gatekeeper

    @property
    def objects(self) -> ObjectStore:
        """The object store, unless it is known to leave its callers waiting.

        Raises:
            StoreAway: at once.
        """
        self.require_objects()
        return self.store

    def require_objects(self) -> None:
        """Refuses what would wait for a silent object store.

        Requests have so many threads, and one that waits is missing to those who don't need it.

        Raises:
            StoreAway: at once.
        """
        if self.objects_watch.is_silent:
            raise StoreAway("the object store does not answer")

    @property
    def has_gpu(self) -> bool:
        """Whether the workers have a GPU; ``auto`` looks at this machine, without a library."""
        device = self.settings.device
        return device == "cuda" or (device == "auto" and _NVIDIA_DEVICE.exists())


def valkey_url(settings: Settings) -> str:
    """Of the configured Valkey.

    Raises:
        ValueError: none is configured.
    """
    if settings.valkey_url is None:
        raise ValueError(
            "the gateway needs ONEPAIR_VALKEY_URL; `onepair serve` starts an embedded Valkey"
        )
    return settings.valkey_url.get_secret_value()


@asynccontextmanager
async def open_services(settings: Settings) -> AsyncIterator[Services]:
    """Build the collaborators; nothing is sent yet, so the gateway starts without Valkey too.

    Raises:
        ValueError: no Valkey is configured.
    """
    url = valkey_url(settings)
    client: redis.Redis = connect(url)
    async_client: redis.asyncio.Redis = connect_async(url)
    waiting = connect_async(url, waiting=settings.max_connections)
    queue = Queue(settings, url)
    reader = AsyncTaskReader(async_client, settings, waiting=waiting)
    services = Services(
        settings=settings,
        tasks=TaskStore(client, settings),
        reader=reader,
        rendered=RenderedJobs(reader),
        store=open_store(settings, patience=SOMEBODY_WAITS),
        objects_watch=ObjectsWatch(open_store(settings, patience=JUST_A_LOOK)),
        queue=queue,
        decoder=Decoder(
            DecoderOptions(
                concurrency=settings.decode_concurrency,
                wall_seconds=settings.decode_timeout_seconds,
                max_pixels=settings.max_pixels,
            )
        ),
        gatekeeper=Gatekeeper(settings, async_client),
    )
    try:
        yield services
    finally:
        queue.close()
        client.close()
        await services.gatekeeper.aclose()
        await async_client.aclose()
        await waiting.aclose()


# dependencies are coroutines, as plain functions would each cost a hop to a thread and back
async def _services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


async def _job_id(
    services: Annotated[Services, Depends(_services)],
    caller: CallerDep,
    job_id: Annotated[
        str,
        PathParameter(
            description="The job's id, 32 hexadecimal digits.",
            examples=["0b5e2f7c9d1a4e6f8a3b2c1d0e9f8a7b"],
        ),
    ],
) -> str:
    is_theirs = is_job_id(job_id)
    if is_theirs and caller.key_id is not None:
        owner = await services.reader.owner_of(job_id)
        is_theirs = owner is not None and caller.may_see(owner)
    if not is_theirs:
        raise ProblemError("unknown_job", "No job has this id.")
    return job_id


async def _set_id(
    set_id: Annotated[
        str, PathParameter(description="The sample set's id, 64 hexadecimal digits.")
    ],
) -> str:
    if not is_set_id(set_id):
        raise ProblemError("unknown_set", "No sample set has this id.")
    return set_id


# Every route with a job in its path takes the id from here: another key's job is no job.
ServicesDep = Annotated[Services, Depends(_services)]
JobId = Annotated[str, Depends(_job_id)]
SetId = Annotated[str, Depends(_set_id)]
