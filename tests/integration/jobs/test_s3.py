"""S3 alone: presigned URLs, lost servers, wrong keys; on a real SeaweedFS."""

from __future__ import annotations

import time
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from jobs.errors import StoreAway
from jobs.objects import open_store
from jobs.objects.s3 import S3Store
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


def test_wrong_keys_and_missing_buckets_are_away(seaweed: SeaweedFS) -> None:
    for change in ({"s3_secret_key": "wrong"}, {"s3_bucket": "missing"}):
        store = open_store(seaweed.settings(**change))
        with pytest.raises(StoreAway):
            store.ping()
        with pytest.raises(StoreAway):
            store.put_bytes("jobs/a", b"x")


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
