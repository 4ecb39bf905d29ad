"""How many requests an API key may make in a minute."""

from __future__ import annotations

import time
from dataclasses import dataclass

import redis.asyncio
import structlog
from limits import RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage, RedisStorage, Storage
from limits.aio.strategies import FixedWindowRateLimiter
from limits.errors import StorageError
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from jobs.settings import Settings
from service.problems import ProblemError

ANSWER_SECONDS = 0.3
_LOG = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class Allowance:
    """What is left of a key's requests.

    Attributes:
        limit: requests in a minute.
        remaining: of them.
        reset_seconds: until the next minute.
    """

    limit: int
    remaining: int
    reset_seconds: int

    def headers(self) -> dict[str, str]:
        """As the IETF's draft of RateLimit headers has them."""
        return {
            "RateLimit-Policy": f'"requests";q={self.limit};w=60',
            "RateLimit": f'"requests";r={self.remaining};t={self.reset_seconds}',
        }


class RequestLimit:
    """Counts requests, in this process or with other gateways.

    Args:
        settings: ``requests_per_minute``, and ``rate_store_url`` where gateways share the count.
    """

    def __init__(self, settings: Settings) -> None:
        self._item = RateLimitItemPerMinute(settings.requests_per_minute)
        self._client: redis.asyncio.Redis | None = None
        storage: Storage = MemoryStorage()
        if settings.rate_store_url is not None:
            # whoever does not answer at once is not waited for: requests go on uncounted
            self._client = redis.asyncio.Redis.from_url(
                settings.rate_store_url.get_secret_value(),
                socket_connect_timeout=ANSWER_SECONDS,
                socket_timeout=ANSWER_SECONDS,
                retry=Retry(NoBackoff(), 0),
            )
            storage = RedisStorage(
                "async+redis://",
                implementation="redispy",
                wrap_exceptions=True,
                connection_pool=self._client.connection_pool,  # type: ignore[arg-type]
            )
        self._limiter = FixedWindowRateLimiter(storage)

    async def count(self, key_id: str) -> Allowance | None:
        """Counts one request; None where it can't be counted: rather uncounted than unserved.

        Raises:
            ProblemError: ``too_many_requests``.
        """
        try:
            is_within = await self._limiter.hit(self._item, key_id)
            window = await self._limiter.get_window_stats(self._item, key_id)
        except StorageError as error:
            _LOG.warning("requests_not_counted", error=repr(error))
            return None
        allowance = Allowance(
            limit=self._item.amount,
            remaining=window.remaining,
            reset_seconds=max(1, round(window.reset_time - time.time())),
        )
        if not is_within:
            raise ProblemError(
                "too_many_requests",
                f"This key has made {allowance.limit} requests within a minute.",
                headers={"Retry-After": str(allowance.reset_seconds), **allowance.headers()},
            )
        return allowance

    async def aclose(self) -> None:
        """Closes the connections."""
        if self._client is not None:
            await self._client.aclose()
