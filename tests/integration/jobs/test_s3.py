"""S3 alone: presigned URLs, lost servers, wrong keys; on a real SeaweedFS."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from jobs.errors import ObjectMissing, StoreAway
from jobs.objects import ObjectStore, open_store
from jobs.objects.s3 import S3Store
from tests.faulty_s3 import FaultyS3
from tests.servers import SeaweedFS

KEY = "jobs/presigned/samples.zip"


@pytest.fixture(scope="module")
def presigning(seaweed: SeaweedFS) -> S3Store:
    public = seaweed.endpoint_url.replace("127.0.0.1", "localhost")
    store = open_store(seaweed.settings(delivery="presign", s3_public_url=public))
    assert isinstance(store, S3Store)
    store.put_bytes(KEY, b"the archive", content_type="application/zip")
    return store


def presigned(store: S3Store, expires_seconds: int = 60) -> str:
    url = store.presign(KEY, expires_seconds=expires_seconds, filename="coins-100.zip")
    assert url is not None
    return url


def test_a_presigned_url_downloads_under_our_name(presigning: S3Store) -> None:
    url = presigned(presigning)
    assert url.startswith("http://localhost:")
    with urlopen(url, timeout=10) as reply:
        assert reply.read() == b"the archive"
        assert reply.headers["Content-Disposition"] == 'attachment; filename="coins-100.zip"'
        assert reply.headers["Content-Type"] == "application/zip"


def test_a_forged_or_expired_url_is_refused(presigning: S3Store) -> None:
    url = presigned(presigning, expires_seconds=1)
    forged = url.replace("coins-100", "virus-100")
    other_key = url.replace(KEY, "ready")
    time.sleep(2.1)
    for refused in (forged, other_key, url):
        with pytest.raises(HTTPError) as caught:
            urlopen(refused, timeout=10)
        assert caught.value.code == 403
        caught.value.close()


@pytest.mark.parametrize("filename", ['a".zip', "a\r\nSet-Cookie: x", "a/b", "ü.zip"])
def test_a_foreign_file_name_is_refused(presigning: S3Store, filename: str) -> None:
    with pytest.raises(ValueError, match="file name"):
        presigning.presign(KEY, expires_seconds=60, filename=filename)


def test_proxy_delivery_has_no_urls(seaweed: SeaweedFS) -> None:
    store = open_store(seaweed.settings())
    assert store.presign(KEY, expires_seconds=60, filename="a.zip") is None


def test_a_wrong_key_is_away(seaweed: SeaweedFS) -> None:
    for change in ({"s3_secret_key": "wrong"}, {"s3_access_key": "wrong", "s3_bucket": "foreign"}):
        store = open_store(seaweed.settings(**change))
        with pytest.raises(StoreAway):
            store.ping()
        with pytest.raises(StoreAway):
            store.put_bytes("jobs/a", b"x")


def test_an_object_that_never_comes_whole_is_a_store_that_is_away(
    seaweed: SeaweedFS, tmp_path: Path
) -> None:
    """boto3 takes what is cut off up again, some times."""
    open_store(seaweed.settings()).put_bytes("jobs/large", os.urandom(300_000))
    with FaultyS3(seaweed.endpoint_url, share=1.0, faults=("cut",)) as faulty:
        store = open_store(seaweed.settings(s3_endpoint_url=faulty.endpoint_url))
        with pytest.raises(StoreAway):
            store.get_file("jobs/large", tmp_path / "large")
        with pytest.raises(StoreAway):
            store.get_bytes("jobs/large")
    assert list(tmp_path.iterdir()) == []


FIRST_CALLS: dict[str, Callable[[ObjectStore, Path], object]] = {
    "ping": lambda store, _: store.ping(),
    "put-bytes": lambda store, _: store.put_bytes("jobs/a", b"x"),
    "put-if-absent": lambda store, _: store.put_if_absent("jobs/a", b"x"),
    "put-file": lambda store, path: store.put_file("jobs/a", path),
    "put-parts": lambda store, path: store.put_file("jobs/a", path.with_name("large")),
    "ensure": lambda store, _: store.ensure_bucket() if isinstance(store, S3Store) else None,
}


@pytest.mark.parametrize("first", FIRST_CALLS)
def test_a_missing_bucket_is_created(first: str, seaweed: SeaweedFS, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.write_bytes(b"x")
    (tmp_path / "large").write_bytes(b"x" * 9_000_000)  # above boto3's threshold for parts
    store = open_store(seaweed.settings(s3_bucket=f"fresh-{first}"))
    FIRST_CALLS[first](store, small)
    store.put_file("jobs/b", small)
    assert store.get_bytes("jobs/b") == b"x"
    assert (store.head("jobs/a") is None) == (first in {"ping", "ensure"})


def test_a_missing_bucket_holds_nothing_and_looking_does_not_create_it(seaweed: SeaweedFS) -> None:
    settings = seaweed.settings(s3_bucket="never-written")
    store = open_store(settings)
    assert list(store.list("jobs/")) == []
    assert list(store.children("jobs/")) == []
    assert store.delete_prefix("jobs/") == 0
    store.delete("jobs/a")
    assert store.head("jobs/a") is None
    with pytest.raises(ObjectMissing):
        store.get_bytes("jobs/a")
    client = S3Store.from_settings(settings)._client
    assert "never-written" not in {one["Name"] for one in client.list_buckets()["Buckets"]}


def test_of_many_who_create_the_bucket_all_succeed(seaweed: SeaweedFS) -> None:
    stores = [open_store(seaweed.settings(s3_bucket="raced-for")) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda n: stores[n].put_bytes(f"jobs/{n}", b"x"), range(4)))
    assert len(list(stores[0].list("jobs/"))) == 4


def test_a_bucket_outside_the_usual_region(seaweed: SeaweedFS) -> None:
    store = open_store(seaweed.settings(s3_bucket="far-away", s3_region="eu-central-1"))
    store.put_bytes("jobs/a", b"x")
    assert store.get_bytes("jobs/a") == b"x"


def test_lists_and_deletions_go_over_pages(seaweed: SeaweedFS) -> None:
    store = S3Store.from_settings(seaweed.settings(s3_bucket="paged"), page_size=2)
    keys = [f"jobs/{n}/x" for n in range(5)]
    for key in keys:
        store.put_bytes(key, b"x")
    assert [info.key for info in store.list("jobs/")] == keys
    assert list(store.children("jobs/")) == [str(n) for n in range(5)]
    assert store.delete_prefix("jobs/") == 5
    assert list(store.list("jobs/")) == []


def test_a_lost_server_is_away_and_its_objects_come_back(tmp_path: Path) -> None:
    server = SeaweedFS(tmp_path / "weed")
    try:
        server.start()
        store = open_store(server.settings())
        assert store.put_if_absent("jobs/kept", b"kept")
        server.kill()
        calls = (
            lambda: store.ping(),
            lambda: store.put_bytes("jobs/a", b"x"),
            lambda: store.get_bytes("jobs/kept"),
            lambda: list(store.list("jobs/")),
        )
        for call in calls:
            with pytest.raises(StoreAway):
                call()
        server.start()
        deadline = time.monotonic() + 60
        while True:  # the server answers before it has found its objects
            try:
                assert store.get_bytes("jobs/kept") == b"kept"
                break
            except StoreAway:
                assert time.monotonic() < deadline
                time.sleep(0.2)
    finally:
        server.kill()
