"""Queue or store away or full: 503, and nothing half-stored."""

from __future__ import annotations

import hashlib
import io
import resource
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jobs.objects import open_store
from jobs.objects.s3 import S3Store
from jobs.settings import Settings
from jobs.state import TaskStore, connect
from jobs.valkey import EmbeddedValkey
from service.app import create_app
from tests.faulty_s3 import FaultyS3
from tests.integration.service.client import TestClient
from tests.integration.service.live import LiveGateway
from tests.integration.service.pairs import index_mask, pair_files, photograph, png
from tests.integration.service.refusals import assert_refused
from tests.servers import SeaweedFS

NO_BYTECODE = {"PYTHONDONTWRITEBYTECODE": "1"}
"""Under a limit on file sizes a half-written .pyc would stay behind for every later process."""


def own_valkey(settings: Settings, server: EmbeddedValkey) -> Settings:
    return Settings.model_validate(settings.model_dump() | {"valkey_url": server.url})


def test_valkey_down_and_up_again(
    settings: Settings, tmp_path: Path, stored: Callable[[], list[str]]
) -> None:
    server = EmbeddedValkey(tmp_path / "own")
    server.start()
    try:
        with TestClient(
            create_app(own_valkey(settings, server)), raise_server_exceptions=False
        ) as gateway:
            assert gateway.get("/readyz").status_code == 200
            server.stop()
            for response in (
                gateway.post("/jobs", files=pair_files()),
                gateway.get("/jobs"),
                gateway.get(f"/jobs/{'0' * 32}"),
                gateway.get(f"/jobs/{'0' * 32}/events"),
            ):
                assert_refused(response, 503, "store_away")
            unready = assert_refused(gateway.get("/readyz"), 503, "store_away")
            assert (unready["queue"], unready["store"]) == ("away", "ok")
            assert gateway.get("/livez").status_code == 200
            assert stored() == []
            server.start()
            assert gateway.post("/jobs", files=pair_files()).status_code == 202
    finally:
        server.stop()


def test_valkey_full(settings: Settings, tmp_path: Path, stored: Callable[[], list[str]]) -> None:
    with EmbeddedValkey(tmp_path / "own") as server:
        with connect(server.url) as connection:
            connection.config_set("maxmemory", "1")
        with TestClient(
            create_app(own_valkey(settings, server)), raise_server_exceptions=False
        ) as gateway:
            response = gateway.post("/jobs", files=pair_files())
            assert_refused(response, 503, "store_full")
            assert gateway.get("/jobs").json()["items"] == []
            assert stored() == []


def test_s3_down(settings: Settings, task_store: TaskStore) -> None:
    away = Settings.model_validate(
        settings.model_dump()
        | {
            "store": "s3",
            "s3_endpoint_url": "http://127.0.0.1:9",
            "s3_access_key": "key",
            "s3_secret_key": "secret",
        }
    )
    with TestClient(create_app(away), raise_server_exceptions=False) as gateway:
        assert_refused(gateway.post("/jobs", files=pair_files()), 503, "store_away")
        assert assert_refused(gateway.get("/readyz"), 503, "store_away")["store"] == "away"
        assert gateway.get("/livez").status_code == 200
    assert task_store.list_jobs().items == ()


def test_a_job_on_s3(settings: Settings, seaweed: SeaweedFS) -> None:
    on_s3 = Settings.model_validate(
        settings.model_dump()
        | seaweed.settings().model_dump(include={"store", "s3_bucket", "s3_endpoint_url"})
        | {
            "s3_access_key": seaweed.settings().s3_access_key,
            "s3_secret_key": seaweed.settings().s3_secret_key,
        }
    )
    with TestClient(create_app(on_s3), raise_server_exceptions=False) as gateway:
        response = gateway.post("/jobs", files=pair_files())
        assert response.status_code == 202, response.text
        prefix = f"jobs/{response.json()['id']}/"
        objects = open_store(on_s3)
        assert len(list(objects.list(prefix))) == 3
        assert gateway.delete(f"/jobs/{response.json()['id']}").status_code == 204
        assert list(objects.list(prefix)) == []


def test_s3_on_a_bad_day(settings: Settings, seaweed: SeaweedFS, task_store: TaskStore) -> None:
    """A third of its answers are errors, late, missing or cut off: taken or 503, never between."""
    whole = seaweed.settings()
    with FaultyS3(seaweed.endpoint_url, share=0.33) as faulty:
        on_s3 = settings.model_copy(
            update=whole.model_dump(include={"store", "s3_bucket"})
            | {
                "s3_endpoint_url": faulty.endpoint_url,
                "s3_access_key": whole.s3_access_key,
                "s3_secret_key": whole.s3_secret_key,
            }
        )
        accepted = []
        with TestClient(create_app(on_s3), raise_server_exceptions=False) as gateway:
            for _ in range(8):
                response = gateway.post("/jobs", files=pair_files())
                if response.status_code == 202:
                    accepted.append(response.json()["id"])
                else:
                    assert_refused(response, 503, "store_away")
    assert accepted
    assert {job.id for job in task_store.list_jobs().items} == set(accepted)
    objects = S3Store.from_settings(whole)
    for job_id in accepted:
        job = task_store.get_job(job_id)
        assert job is not None
        image = objects.get_bytes(job.input.image_key)
        assert hashlib.sha256(image).hexdigest() == job.input.image_sha256
        assert objects.head(job.input.mask_key) is not None
        assert objects.head(job.input.pair_key) is not None


def test_no_room_for_the_upload_itself(
    settings: Settings, tmp_path: Path, task_store: TaskStore, stored: Callable[[], list[str]]
) -> None:
    image = png(photograph(600, 400).effect_spread(12))
    assert len(image) > 40_000
    with LiveGateway(settings, tmp_path / "log", NO_BYTECODE, preexec=small_files_only) as gateway:
        for fields in ({"dry_run": "true"}, {}):
            response = gateway.http.post("/jobs", files=pair_files(image), data=fields)
            assert_refused(response, 503, "store_full")
    assert stored() == []
    assert task_store.list_jobs().items == ()


def small_files_only() -> None:
    """No file beyond 20 kB, so the kernel stops the store's write half-way."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))


def image_that_swells() -> dict[str, tuple[str, bytes]]:
    """A small JPEG; the PNG that is stored of it is large."""
    buffer = io.BytesIO()
    photograph(600, 400).effect_spread(2).save(buffer, "JPEG", quality=20)
    return {
        "image": ("photo.jpg", buffer.getvalue()),
        "mask": ("mask.png", png(index_mask(600, 400))),
    }


def mask_that_swells() -> dict[str, tuple[str, bytes]]:
    """A mask that repeats itself at a distance that WebP's coder sees and PNG's doesn't."""
    noise = np.random.default_rng(0).integers(0, 2, (150, 800), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(np.vstack((noise, noise))).save(buffer, "WEBP", lossless=True)
    image = Image.linear_gradient("L").resize((800, 300)).convert("RGB")
    return {"image": ("photo.png", png(image)), "mask": ("mask.webp", buffer.getvalue())}


@pytest.mark.parametrize("make", [image_that_swells, mask_that_swells])
def test_the_stores_disk_is_full(
    make: Callable[[], dict[str, tuple[str, bytes]]],
    settings: Settings,
    tmp_path: Path,
    task_store: TaskStore,
    stored: Callable[[], list[str]],
) -> None:
    """The upload has room, what is stored of it has not; the mask comes after the image.

    The decoding helper raises the soft limit for itself, the gateway's store can't.
    """
    files = make()
    assert max(len(content) for _, content in files.values()) < 19_000
    with LiveGateway(settings, tmp_path / "log", NO_BYTECODE, preexec=small_files_only) as gateway:
        assert_refused(gateway.http.post("/jobs", files=files), 503, "store_full")
    left = [path for path in (settings.data_dir / "objects").rglob("*") if path.is_file()]
    assert left == []
    assert stored() == []
    assert task_store.list_jobs().items == ()


def test_what_nobody_expected_has_its_requests_name_too(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> None:
        raise RuntimeError("not expected")

    monkeypatch.setattr("service.rendered.RenderedJobs.get", fail)
    with TestClient(create_app(settings), raise_server_exceptions=False) as gateway:
        answer = gateway.get(f"/jobs/{'0' * 32}", headers={"X-Request-ID": "mine-7"})
    assert_refused(answer, 500, "internal_error")
    assert answer.headers["x-request-id"] == "mine-7"


@pytest.fixture
def hanging() -> Iterator[dict[str, str]]:
    """An object store that takes connections and never says a word."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(200)
        yield {
            "ONEPAIR_STORE": "s3",
            "ONEPAIR_S3_ENDPOINT_URL": f"http://127.0.0.1:{silent.getsockname()[1]}",
            "ONEPAIR_S3_ACCESS_KEY": "key",
            "ONEPAIR_S3_SECRET_KEY": "secret",
        }


def test_a_store_that_hangs_keeps_nobody_waiting_who_does_not_need_it(
    hanging: dict[str, str], settings: Settings, tmp_path: Path
) -> None:
    """More ask for it at once than the gateway has threads; the list of jobs is still there."""
    with (
        LiveGateway(settings, tmp_path / "log", hanging) as gateway,
        ThreadPoolExecutor(60) as pool,
    ):
        waiting = [pool.submit(gateway.http.get, "/readyz") for _ in range(60)]
        began = time.monotonic()
        assert gateway.http.get("/jobs").status_code == 200
        assert time.monotonic() - began < 10
        assert {one.result().status_code for one in waiting} <= {200, 503}
        while (unready := gateway.http.get("/readyz")).status_code == 200:
            assert time.monotonic() - began < 60
            time.sleep(0.5)
        assert assert_refused(unready, 503, "store_away")["store"] == "away"
        # known by now: refused without another wait
        began = time.monotonic()
        assert_refused(gateway.http.post("/jobs", files=pair_files()), 503, "store_away")
        assert time.monotonic() - began < 10
