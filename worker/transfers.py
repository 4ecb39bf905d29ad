"""Moving files to and from the object store beside the work, patiently."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import ParamSpec, Self, TypeVar

import structlog
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    sleep_using_event,
    stop_when_event_set,
    wait_exponential_jitter,
)

from jobs.errors import ObjectMissing, StoreAway, StoreFull
from jobs.files import file_sha256
from jobs.objects import ObjectStore
from jobs.record import Checkpoint
from worker.metrics import WorkerMetrics

log = structlog.get_logger(__name__)

P = ParamSpec("P")
T = TypeVar("T")
RETRY_MAX_SECONDS = 20.0


@dataclass(frozen=True, kw_only=True)
class Uploaded:
    """An object that was stored.

    Attributes:
        key: where.
        sha256: of its bytes.
        size_bytes: how many.
    """

    key: str
    sha256: str
    size_bytes: int


class Transfers:
    """One thread that moves files in order, and retries for as long as the store is away.

    Every method returns a future at once; so the supervisor keeps beating meanwhile.

    Args:
        objects: the store.
        metrics: are told how long each try took.
    """

    def __init__(self, objects: ObjectStore, metrics: WorkerMetrics) -> None:
        self._objects, self._metrics = objects, metrics
        self._closing = threading.Event()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="transfers")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closing.set()
        self._pool.shutdown(cancel_futures=True)

    def fetch(self, key: str, path: Path) -> Future[None]:
        """Gets an object; ``ObjectMissing`` is not retried."""

        def get() -> None:
            self._get_file(key, path)

        return self.submit(get)

    def fetch_checkpoint(self, checkpoint: Checkpoint, path: Path) -> Future[bool]:
        """Gets a checkpoint; False when it is missing or its hash is another."""

        def get() -> bool:
            try:
                self._get_file(checkpoint.key, path)
            except ObjectMissing:
                log.warning("checkpoint_missing", key=checkpoint.key)
                return False
            if file_sha256(path) != checkpoint.sha256:
                log.warning("checkpoint_damaged", key=checkpoint.key)
                path.unlink()
                return False
            return True

        return self.submit(get)

    def _get_file(self, key: str, path: Path) -> None:
        try:
            with self._metrics.moving("get"):
                self._objects.get_file(key, path)
        except StoreFull as error:  # the disk that is full is ours, and waiting won't empty it
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path)) from error

    def upload(self, path: Path, key: str, *, content_type: str) -> Future[Uploaded]:
        """Stores a file."""

        def put() -> Uploaded:
            digest = file_sha256(path)
            with self._metrics.moving("put"):
                self._objects.put_file(key, path, content_type=content_type)
            return Uploaded(key=key, sha256=digest, size_bytes=path.stat().st_size)

        return self.submit(put)

    def delete(self, key: str) -> Future[None]:
        """Removes an object."""
        return self.submit(self._objects.delete, key)

    def submit(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Runs a store operation, again and again while the store is away or full."""
        retrying = Retrying(
            retry=retry_if_exception_type((StoreAway, StoreFull)),
            wait=wait_exponential_jitter(max=RETRY_MAX_SECONDS),
            stop=stop_when_event_set(self._closing),
            sleep=sleep_using_event(self._closing),
            before_sleep=self._tell,
            reraise=True,
        )

        def patiently() -> T:
            return retrying(function, *args, **kwargs)

        # lines that it causes name the job and the request, as the caller's do
        return self._pool.submit(copy_context().run, patiently)

    def _tell(self, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        log.warning("store_away", attempt=state.attempt_number, reason=str(error))
        self._metrics.store_failed()
