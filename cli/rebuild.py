"""``onepair rebuild``: finished jobs and sets back into a Valkey that has lost them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from cli.data_folder import is_claimed, valkey_address
from jobs.objects import open_store
from jobs.settings import Settings
from jobs.state import TaskStore, connect
from jobs.terminal import rebuild
from jobs.valkey import EmbeddedValkey


def rebuild_records(settings: Settings) -> int:
    """Restores what the object store has a final record of and Valkey does not know.

    Returns:
        How many jobs and sets came back.

    Raises:
        StoreAway: Valkey or the object store does not answer.
        ValkeyBusy: another server holds the data folder.
    """
    objects = open_store(settings)
    objects.ping()
    with _valkey_url(settings) as url, connect(url) as client:
        store = TaskStore(client, settings)
        store.ping()
        return rebuild(store, objects)


@contextmanager
def _valkey_url(settings: Settings) -> Iterator[str]:
    """Of the configured Valkey, of the service's that runs on the folder, or of one for now."""
    if not settings.embedded or is_claimed(settings.data_dir):
        yield valkey_address(settings)
        return
    with EmbeddedValkey(settings.data_dir, maxmemory=settings.valkey_maxmemory) as server:
        yield server.url
