"""Objects as files in a folder."""

from __future__ import annotations

import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from jobs.errors import ObjectMissing, StoreAway, StoreFull, is_out_of_room
from jobs.keys import check_object_key, check_object_prefix
from jobs.objects.base import CHUNK_BYTES, OCTETS, ObjectInfo

_NOTHING_THERE = (FileNotFoundError, NotADirectoryError, IsADirectoryError)


class FolderStore:
    """An ``ObjectStore`` in a folder: temporary file, fsync, then rename or link."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        # Beside the objects, so that a rename stays on one file system.
        self._unfinished = self.root / ".unfinished"

    def put_file(self, key: str, path: Path, *, content_type: str = OCTETS) -> ObjectInfo:
        """See ``ObjectStore``."""
        del content_type  # a file has none

        def copy(target: BinaryIO) -> None:
            with path.open("rb") as source:
                shutil.copyfileobj(source, target, CHUNK_BYTES)

        return self._put(key, copy)

    def put_bytes(self, key: str, data: bytes, *, content_type: str = OCTETS) -> ObjectInfo:
        """See ``ObjectStore``."""
        del content_type
        return self._put(key, lambda target: _write_all(target, data))

    def put_if_absent(self, key: str, data: bytes, *, content_type: str = OCTETS) -> bool:
        """See ``ObjectStore``. A hard link is refused when the name is taken."""
        del content_type
        final = self._path(key)
        with _disk_errors(), self._written(lambda target: _write_all(target, data)) as unfinished:
            try:
                _make_folder(final.parent)
                os.link(unfinished, final)
            except FileExistsError:
                return final.read_bytes() == data
            _sync_folder(final.parent)
        return True

    def get_bytes(self, key: str) -> bytes:
        """See ``ObjectStore``."""
        with _disk_errors(key):
            return self._path(key).read_bytes()

    def get_file(self, key: str, path: Path) -> ObjectInfo:
        """See ``ObjectStore``."""
        partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
        with _disk_errors(key):
            try:
                shutil.copyfile(self._path(key), partial)
                partial.replace(path)
            finally:
                partial.unlink(missing_ok=True)
            return self._info(key)

    def stream(
        self, key: str, *, start: int = 0, end: int | None = None, chunk_bytes: int = CHUNK_BYTES
    ) -> Iterator[bytes]:
        """See ``ObjectStore``."""
        with _disk_errors(key):
            source = self._path(key).open("rb")
        return _chunks(source, start, end, chunk_bytes)

    def head(self, key: str) -> ObjectInfo | None:
        """See ``ObjectStore``."""
        try:
            with _disk_errors(key):
                return self._info(key)
        except ObjectMissing:
            return None

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """See ``ObjectStore``."""
        folder = self.root / check_object_prefix(prefix)
        keys = (path.relative_to(self.root).as_posix() for path in folder.rglob("*"))
        for key in sorted(keys):
            info = None if (self.root / key).is_dir() else self.head(key)
            if info is not None:
                yield info

    def children(self, prefix: str) -> Iterator[str]:
        """See ``ObjectStore``."""
        folder = self.root / check_object_prefix(prefix)
        with _disk_errors():
            names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
        yield from sorted(name for name in names if (folder / name).is_dir())

    def delete(self, key: str) -> None:
        """See ``ObjectStore``. Folders left empty are removed too."""
        path = self._path(key)
        with _disk_errors(), suppress(*_NOTHING_THERE):
            path.unlink()
        self._prune(path.parent)

    def delete_prefix(self, prefix: str) -> int:
        """See ``ObjectStore``."""
        folder = self.root / check_object_prefix(prefix)
        with _disk_errors():
            count = sum(1 for path in folder.rglob("*") if path.is_file())
            with suppress(*_NOTHING_THERE):
                shutil.rmtree(folder)
        self._prune(folder.parent)
        return count

    def sweep_unfinished(self, *, older_than_seconds: float) -> int:
        """See ``ObjectStore``: temporary files whose process was killed."""
        count = 0
        with _disk_errors():
            for path in self._unfinished.glob("*"):
                with suppress(FileNotFoundError):  # its writer has ended after all
                    if path.stat().st_mtime < time.time() - older_than_seconds:
                        path.unlink()
                        count += 1
        return count

    def presign(self, key: str, *, expires_seconds: int, filename: str) -> str | None:
        """None: the gateway streams the bytes."""
        del expires_seconds, filename
        check_object_key(key)
        return None

    def ping(self) -> None:
        """See ``ObjectStore``: writes and removes a small file."""
        with _disk_errors(), self._written(lambda target: _write_all(target, b"ping")):
            pass

    def _path(self, key: str) -> Path:
        return self.root / check_object_key(key)

    def _info(self, key: str) -> ObjectInfo:
        found = self._path(key).stat()
        return ObjectInfo(
            key=key,
            size_bytes=found.st_size,
            # A new inode for every write: two writes in one tick of the clock differ too.
            etag=f"{found.st_mtime_ns:x}-{found.st_ino:x}-{found.st_size:x}",
            modified_at=datetime.fromtimestamp(found.st_mtime, UTC),
        )

    def _put(self, key: str, write: Callable[[BinaryIO], None]) -> ObjectInfo:
        final = self._path(key)
        with _disk_errors(), self._written(write) as unfinished:
            _make_folder(final.parent)
            unfinished.replace(final)
            _sync_folder(final.parent)
            return self._info(key)

    @contextmanager
    def _written(self, write: Callable[[BinaryIO], None]) -> Iterator[Path]:
        """A complete, synchronised temporary file; gone afterwards unless it was renamed."""
        self._unfinished.mkdir(parents=True, exist_ok=True)
        path = self._unfinished / uuid.uuid4().hex
        try:
            with path.open("xb") as target:
                write(target)
                target.flush()
                os.fsync(target.fileno())
            yield path
        finally:
            path.unlink(missing_ok=True)

    def _prune(self, folder: Path) -> None:
        while folder != self.root:
            try:
                folder.rmdir()
            except OSError:  # not empty, or gone already
                return
            folder = folder.parent


def _write_all(target: BinaryIO, data: bytes) -> None:
    target.write(data)


def _make_folder(folder: Path) -> None:
    """Like mkdir(parents), but new folders' names survive a power cut too."""
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _chunks(source: BinaryIO, start: int, end: int | None, chunk_bytes: int) -> Iterator[bytes]:
    with source, _disk_errors():
        source.seek(start)
        left = None if end is None else max(0, end - start)
        while left is None or left > 0:
            chunk = source.read(chunk_bytes if left is None else min(chunk_bytes, left))
            if not chunk:
                return
            left = None if left is None else left - len(chunk)
            yield chunk


@contextmanager
def _disk_errors(key: str | None = None) -> Iterator[None]:
    """Turn the operating system's errors into the store's; ``key`` was to be read."""
    try:
        yield
    except OSError as error:
        if key is not None and isinstance(error, _NOTHING_THERE):
            raise ObjectMissing(f"no object {key}") from error
        if is_out_of_room(error):
            raise StoreFull("the object folder's disk is full") from error
        raise StoreAway(f"the object folder can't be used: {error.strerror}") from error
