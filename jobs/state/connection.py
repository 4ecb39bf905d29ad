"""Clients of Valkey, and the translation of its errors into ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

from jobs.errors import StoreAway, StoreFull

# A blocking XREAD waits at most this long, so a dead server is noticed.
MAX_BLOCK_SECONDS = 20.0
_RETRIES = 3
_SHARED = 32
_CERTIFICATE = "ssl_cert_reqs"
_DENIED = "DENIED"  # in protected mode
_LET_IN = (
    "Look at user and password in ONEPAIR_VALKEY_URL, and at Valkey's protected-mode and ACLs."
)
_BACKOFF_BASE_SECONDS = 0.05
_BACKOFF_CAP_SECONDS = 0.5


def connect(url: str, *, timeout_seconds: float = 5.0) -> redis.Redis:
    """A client for ``TaskStore``; nothing is sent before the first command.

    Repeating a command after a lost connection is safe: every script recognises its own repeat.

    Args:
        url: ``redis://host:port/db``, ``rediss://…`` or ``unix:///absolute/path.sock``.
        timeout_seconds: limit for connecting and for each reply.
    """
    return redis.Redis.from_url(
        url,
        decode_responses=True,
        socket_connect_timeout=timeout_seconds,
        socket_timeout=timeout_seconds,
        retry=Retry(ExponentialBackoff(_BACKOFF_CAP_SECONDS, _BACKOFF_BASE_SECONDS), _RETRIES),
    )


def connect_async(
    url: str, *, timeout_seconds: float = 5.0, waiting: int | None = None
) -> redis.asyncio.Redis:
    """A client for ``AsyncTaskReader``; its replies may take as long as a blocking read.

    Args:
        url: as for ``connect``.
        timeout_seconds: limit for connecting and for each reply, beyond the time it blocks.
        waiting: how many may wait in blocking reads at once, each on a connection of its own; one
            more is ``StoreAway``. None: nobody waits, so a few connections are shared, and who
            finds them all in use is next.
    """
    options: dict[str, Any] = {
        "decode_responses": True,
        "socket_connect_timeout": timeout_seconds,
        "socket_timeout": MAX_BLOCK_SECONDS + timeout_seconds,
        "retry": AsyncRetry(
            ExponentialBackoff(_BACKOFF_CAP_SECONDS, _BACKOFF_BASE_SECONDS), _RETRIES
        ),
    }
    pool: redis.asyncio.ConnectionPool
    if waiting is None:
        pool = redis.asyncio.BlockingConnectionPool.from_url(
            url, max_connections=_SHARED, timeout=timeout_seconds, **options
        )
    else:
        pool = redis.asyncio.ConnectionPool.from_url(url, max_connections=waiting, **options)
    return redis.asyncio.Redis.from_pool(pool)


def celery_url(url: str) -> str:
    """A Valkey URL in Celery's spelling: ``unix:///s`` becomes ``redis+socket:///s``.

    With TLS it says that the certificate is to be verified, as ``connect`` does without being told.
    """
    if url.startswith("unix://"):
        path = url.removeprefix("unix://").partition("?")[0]
        return f"redis+socket://{path}?virtual_host=0"
    if url.startswith("rediss://") and _CERTIFICATE not in url:
        return f"{url}{'&' if '?' in url else '?'}{_CERTIFICATE}=required"
    return url


@contextmanager
def valkey_errors() -> Iterator[None]:
    """Turn Valkey's failures into ``StoreAway`` and ``StoreFull``.

    Raises:
        StoreAway: no connection, no reply in time, still loading, wrong password, not let in.
        StoreFull: at maxmemory, or the disk of the append-only file is full.
    """
    try:
        yield
    except redis.exceptions.OutOfMemoryError as error:
        raise StoreFull("Valkey is at its memory limit") from error
    except (redis.exceptions.ConnectionError, redis.exceptions.TimeoutError) as error:
        raise StoreAway(f"Valkey does not answer: {error}") from error
    except redis.exceptions.ReadOnlyError as error:
        raise StoreAway("Valkey is a read-only replica at the moment") from error
    except redis.exceptions.ResponseError as error:
        if str(error).startswith("MISCONF"):
            raise StoreFull("Valkey can't write its append-only file") from error
        if isinstance(error, redis.exceptions.NoPermissionError) or str(error).startswith(_DENIED):
            raise StoreAway(f"Valkey lets nobody in: {error}", hint=_LET_IN) from error
        raise
