"""When API keys were last used, by the minute."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import cast

import redis
import redis.asyncio

from jobs.keys import ValkeyKeys
from jobs.settings import Settings
from jobs.state.connection import valkey_errors


async def note_use(client: redis.asyncio.Redis, settings: Settings, key_id: str) -> None:
    """Writes down that a key is used now.

    Raises:
        StoreAway: Valkey does not answer.
        StoreFull: it has no room.
    """
    now = datetime.now(UTC).isoformat(timespec="minutes")
    with valkey_errors():
        await client.hset(ValkeyKeys(settings.namespace).keys_used, key_id, now)


def last_uses(client: redis.Redis, settings: Settings) -> dict[str, datetime]:
    """When each key was last used, by its id; keys never used are missing.

    Raises:
        StoreAway: Valkey does not answer.
    """
    with valkey_errors():
        found = cast("dict[str, str]", client.hgetall(ValkeyKeys(settings.namespace).keys_used))
    return {key_id: datetime.fromisoformat(text) for key_id, text in found.items()}
