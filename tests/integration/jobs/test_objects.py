"""One contract, two stores: a folder, and S3 on a real SeaweedFS."""

from __future__ import annotations

import errno
import os
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

from jobs.errors import InvalidKey, ObjectMissing, StoreAway, StoreFull
from jobs.objects import FolderStore, ObjectStore, open_store
from jobs.objects.s3 import S3Store
from jobs.settings import Settings
from tests.servers import SeaweedFS


@pytest.fixture(scope="module")
def s3_store(seaweed: SeaweedFS) -> S3Store:
    """One client for all tests: boto3 takes a while to make one."""
    return S3Store.from_settings(seaweed.settings())


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    if request.param == "folder":
        return open_store(Settings(data_dir=tmp_path))
    found: ObjectStore = request.getfixturevalue("s3_store")
    return found


@pytest.fixture
def prefix() -> str:
    """A prefix of this test's own: the S3 store is shared."""
    return f"jobs/{uuid.uuid4().hex}/"


def test_bytes_come_back(store: ObjectStore, prefix: str) -> None:
    key = f"{prefix}a1/data.bin"
    info = store.put_bytes(key, b"first")
    assert (info.key, info.size_bytes) == (key, 5)
    assert abs((datetime.now(UTC) - info.modified_at).total_seconds()) < 60
    assert store.head(key) == info
    replaced = store.put_bytes(key, b"other")
    assert replaced.etag != info.etag
    assert store.get_bytes(key) == b"other"
    assert store.put_bytes(f"{prefix}empty", b"").size_bytes == 0
    assert store.get_bytes(f"{prefix}empty") == b""


def test_files_come_back(store: ObjectStore, prefix: str, tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    data = os.urandom(9 * 2**20)  # more than one part
    source.write_bytes(data)
    assert store.put_file(f"{prefix}big.bin", source).size_bytes == len(data)
    target.write_bytes(b"old")
    assert store.get_file(f"{prefix}big.bin", target).size_bytes == len(data)
    assert target.read_bytes() == data
    assert not list(tmp_path.glob(".target*"))


RANGES = [(0, None), (3, None), (0, 4), (2, 7), (9, 10), (5, 5), (8, 99), (10, None), (50, 60)]


@pytest.mark.parametrize(("start", "end"), RANGES)
def test_ranges(store: ObjectStore, prefix: str, start: int, end: int | None) -> None:
    data = b"0123456789"
    store.put_bytes(f"{prefix}digits", data)
    assert b"".join(store.stream(f"{prefix}digits", start=start, end=end)) == data[start:end]


def test_a_stream_comes_in_chunks(store: ObjectStore, prefix: str) -> None:
    store.put_bytes(f"{prefix}digits", bytes(10_000))
    chunks = list(store.stream(f"{prefix}digits", chunk_bytes=4_096))
    assert [len(chunk) for chunk in chunks] == [4_096, 4_096, 1_808]


def test_create_once(store: ObjectStore, prefix: str) -> None:
    key = f"{prefix}result.json"
    assert store.put_if_absent(key, b"mine")
    assert store.put_if_absent(key, b"mine")  # a repeat after a lost reply
    assert not store.put_if_absent(key, b"them")
    assert not store.put_if_absent(key, b"longer")
    assert store.get_bytes(key) == b"mine"


def test_of_many_creators_one_wins(store: ObjectStore, prefix: str) -> None:
    key = f"{prefix}result.json"
    bodies = [f"writer {n}".encode() for n in range(8)]
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda body: store.put_if_absent(key, body), bodies))
    assert sum(won) == 1
    assert store.get_bytes(key) == bodies[won.index(True)]


def test_what_is_not_there(store: ObjectStore, prefix: str, tmp_path: Path) -> None:
    key = f"{prefix}nothing"
    assert store.head(key) is None
    assert list(store.list(prefix)) == []
    assert list(store.children(prefix)) == []
    assert store.delete_prefix(prefix) == 0
    store.delete(key)
    reads: list[Callable[[], object]] = [
        lambda: store.get_bytes(key),
        lambda: store.stream(key),
        lambda: store.get_file(key, tmp_path / "target"),
    ]
    for read in reads:
        with pytest.raises(ObjectMissing):
            read()
    assert not (tmp_path / "target").exists()


def test_lists_and_deletions_stay_in_their_prefix(store: ObjectStore, prefix: str) -> None:
    keys = [f"{prefix}{name}" for name in ("a", "sets/1/x", "sets/1/y", "sets/10/x", "sets/2/z")]
    for key in reversed(keys):
        store.put_bytes(key, b"x")
    assert [info.key for info in store.list(prefix)] == keys
    assert list(store.children(f"{prefix}sets/")) == ["1", "10", "2"]
    assert store.delete_prefix(f"{prefix}sets/1/") == 2
    store.delete(f"{prefix}a")
    assert [info.key for info in store.list(prefix)] == keys[3:]
    assert store.delete_prefix(prefix) == 2
    assert list(store.list(prefix)) == []


@pytest.mark.slow
def test_more_than_a_page_of_objects(s3_store: ObjectStore, prefix: str) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: s3_store.put_if_absent(f"{prefix}{n:04}", b"x"), range(1_005)))
    assert sum(1 for _ in s3_store.list(prefix)) == 1_005
    assert s3_store.delete_prefix(prefix) == 1_005
    assert list(s3_store.list(prefix)) == []


BAD_KEYS = [
    "", "/", "/etc/passwd", "a//b", "a/", "../a", "a/../b", "a/..", ".", "a/.hidden", "A", "a b",
    "a\\b", "a\x00b", "ä", "a\n", "jobs/%2e%2e/x", "x" * 513, ".unfinished/x",
]  # fmt: skip


@pytest.mark.parametrize("key", BAD_KEYS)
def test_foreign_keys_are_refused(store: ObjectStore, key: str, tmp_path: Path) -> None:
    calls: list[Callable[[], object]] = [
        lambda: store.put_bytes(key, b"x"),
        lambda: store.put_file(key, tmp_path),
        lambda: store.put_if_absent(key, b"x"),
        lambda: store.get_bytes(key),
        lambda: store.get_file(key, tmp_path / "x"),
        lambda: store.head(key),
        lambda: store.delete(key),
        lambda: store.presign(key, expires_seconds=1, filename="x"),
        lambda: store.delete_prefix(key if key == "/" else f"{key}/"),
        lambda: list(store.list(f"{key}/")),
    ]
    for call in calls:
        with pytest.raises(InvalidKey):
            call()


@pytest.mark.parametrize("prefix", ["", "jobs", "jobs/ab"])
def test_a_prefix_is_whole_segments(store: ObjectStore, prefix: str) -> None:
    with pytest.raises(InvalidKey):
        store.delete_prefix(prefix)


def test_ping(store: ObjectStore) -> None:
    store.ping()


# The folder's own troubles ---------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "objects")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_failed_write_leaves_nothing(
    folder: FolderStore, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    folder.put_bytes("jobs/a", b"old")

    def fail(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("jobs.objects.folder.os.fsync", fail)
    expected = StoreAway if number == errno.EIO else StoreFull
    for write in (folder.put_bytes, folder.put_if_absent):
        with pytest.raises(expected) as caught:
            write("jobs/a", b"new")
        assert isinstance(caught.value.__cause__, OSError)
    with pytest.raises(expected):
        folder.ping()
    monkeypatch.undo()
    assert folder.get_bytes("jobs/a") == b"old"
    assert [path.name for path in folder.root.rglob("*") if path.is_file()] == ["a"]


def test_what_interrupted_writes_have_left_is_swept_by_age(
    folder: FolderStore, s3_store: S3Store, prefix: str
) -> None:
    folder.put_bytes(f"{prefix}whole", b"whole")
    left = [folder.root / ".unfinished" / name for name in ("old", "young")]
    for path in left:
        path.write_bytes(b"half")
    os.utime(left[0], (time.time() - 7_200,) * 2)
    assert folder.sweep_unfinished(older_than_seconds=3_600) == 1
    assert [path.exists() for path in left] == [False, True]

    key = f"{prefix}archive.zip"
    client, bucket = s3_store._client, s3_store._bucket
    part = client.create_multipart_upload(Bucket=bucket, Key=key)
    client.upload_part(
        Bucket=bucket, Key=key, UploadId=part["UploadId"], PartNumber=1, Body=bytes(5 * 2**20)
    )
    assert s3_store.sweep_unfinished(older_than_seconds=3_600) == 0
    assert s3_store.sweep_unfinished(older_than_seconds=-60) >= 1
    assert not client.list_multipart_uploads(Bucket=bucket, Prefix=prefix).get("Uploads")
    assert folder.get_bytes(f"{prefix}whole") == b"whole"


def test_an_unusable_folder_is_away(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    store = FolderStore(tmp_path / "file")
    with pytest.raises(StoreAway):
        store.put_bytes("jobs/a", b"x")
    with pytest.raises(StoreAway):
        store.ping()


def test_a_folder_is_never_an_object(folder: FolderStore) -> None:
    folder.put_bytes("jobs/a/b", b"x")
    with pytest.raises(ObjectMissing):
        folder.get_bytes("jobs/a")
    with pytest.raises(ObjectMissing):
        folder.get_bytes("jobs/a/b/c")


def test_a_reader_keeps_what_it_has_opened(folder: FolderStore) -> None:
    folder.put_bytes("jobs/a", b"old old old")
    stream = folder.stream("jobs/a", chunk_bytes=4)
    assert next(stream) == b"old "
    folder.put_bytes("jobs/a", b"new new new")
    assert b"".join(stream) == b"old old"


def test_a_folder_has_no_urls(folder: FolderStore) -> None:
    assert folder.presign("jobs/a", expires_seconds=60, filename="a.zip") is None
