"""Fixtures that start real servers: one Valkey and one SeaweedFS for the whole session."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

from jobs.objects import FolderStore
from jobs.queue import Queue
from jobs.settings import Settings
from jobs.state import TaskStore, connect
from jobs.valkey import EmbeddedValkey
from tests.servers import SeaweedFS

# machines may be busy: what is tested is what holds, not how fast the examples run
hypothesis_settings.register_profile(
    "patient", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
hypothesis_settings.load_profile("patient")


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedValkey]:
    """A Valkey for all tests; each test has a namespace of its own in it (see ``settings``)."""
    with EmbeddedValkey(tmp_path_factory.mktemp("valkey")) as server:
        yield server


@pytest.fixture(scope="session")
def seaweed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeaweedFS]:
    """An S3 store; ``seaweed.settings()`` reaches its bucket ``tests``."""
    server = SeaweedFS(tmp_path_factory.mktemp("seaweed"))
    try:
        yield server.start()
    finally:
        server.kill()


@pytest.fixture
def settings(valkey: EmbeddedValkey, tmp_path: Path) -> Settings:
    """Settings with the real limits, a namespace and an object folder of their own."""
    return Settings.model_validate(
        {
            "data_dir": tmp_path / "data",
            "valkey_url": valkey.url,
            "namespace": f"t{uuid.uuid4().hex[:12]}",
        }
    )


@pytest.fixture
def client(valkey: EmbeddedValkey) -> Iterator[redis.Redis]:
    with connect(valkey.url) as client:
        yield client


@pytest.fixture
def task_store(client: redis.Redis, settings: Settings) -> TaskStore:
    return TaskStore(client, settings)


@pytest.fixture
def objects(settings: Settings) -> FolderStore:
    return FolderStore(settings.data_dir / "objects")


@pytest.fixture
def queue(valkey: EmbeddedValkey, settings: Settings) -> Iterator[Queue]:
    queue = Queue(settings, valkey.url)
    yield queue
    queue.close()
