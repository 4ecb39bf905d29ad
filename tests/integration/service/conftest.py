"""A gateway on real state: one Valkey for all tests, a namespace and a store for each."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from jobs.objects import FolderStore
from jobs.settings import Settings
from jobs.state import TaskStore
from service.app import create_app
from tests.integration.service.client import TestClient
from tests.integration.service.small_worker import SmallWorker


@pytest.fixture
def gateway(settings: Settings) -> Iterator[TestClient]:
    with TestClient(create_app(settings), raise_server_exceptions=False) as gateway:
        yield gateway


@pytest.fixture
def stored(objects: FolderStore) -> Callable[[], list[str]]:
    """Keys of everything in the object store."""
    return lambda: [info.key for info in objects.list("jobs/")]


@pytest.fixture
def worker(task_store: TaskStore, objects: FolderStore) -> SmallWorker:
    return SmallWorker(task_store, objects)
