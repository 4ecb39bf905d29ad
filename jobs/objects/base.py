"""What an object store is: the protocol that a folder and S3 both keep."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

OCTETS = "application/octet-stream"
CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class ObjectInfo:
    """What is known of an object without reading it. ``etag`` has no quotes."""

    key: str
    size_bytes: int
    etag: str
    modified_at: datetime


@dataclass(frozen=True)
class Patience:
    """How long one call waits for a store that does not answer.

    Attributes:
        read_seconds: for the next bytes of an answer.
        attempts: in all, where one has failed.
    """

    read_seconds: float
    attempts: int


WITH_TIME = Patience(30, 5)
SOMEBODY_WAITS = Patience(10, 2)
JUST_A_LOOK = Patience(4, 2)


class ObjectStore(Protocol):
    """Objects by key. Writes are atomic and durable when they return.

    Every method raises ``StoreAway`` when the store does not answer, ``StoreFull`` when it has no
    room, and ``InvalidKey`` for keys that are not of our form (``keys.check_object_key``).
    """

    def put_file(self, key: str, path: Path, *, content_type: str = OCTETS) -> ObjectInfo:
        """Store a file's bytes, replacing what was there."""
        ...

    def put_bytes(self, key: str, data: bytes, *, content_type: str = OCTETS) -> ObjectInfo:
        """Store bytes, replacing what was there."""
        ...

    def put_if_absent(self, key: str, data: bytes, *, content_type: str = OCTETS) -> bool:
        """Store bytes unless the key is taken.

        Returns:
            True: the object now holds exactly these bytes (also when an earlier try of this call,
            or an equal one, wrote them). False: other bytes were there first, and stay.
        """
        ...

    def get_bytes(self, key: str) -> bytes:
        """The whole object. Raises ``ObjectMissing``."""
        ...

    def get_file(self, key: str, path: Path) -> ObjectInfo:
        """Copy an object to ``path`` (atomically). Raises ``ObjectMissing``."""
        ...

    def stream(
        self, key: str, *, start: int = 0, end: int | None = None, chunk_bytes: int = CHUNK_BYTES
    ) -> Iterator[bytes]:
        """Bytes ``[start, end)`` in chunks. Raises ``ObjectMissing`` before the first chunk."""
        ...

    def head(self, key: str) -> ObjectInfo | None:
        """What is known of an object; None when there is none."""
        ...

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """All objects under a prefix (which ends in ``/``), in the order of their keys."""
        ...

    def children(self, prefix: str) -> Iterator[str]:
        """Names of the folders right under a prefix, in order.

        S3 servers may name a folder for a while after its last object is gone.
        """
        ...

    def delete(self, key: str) -> None:
        """Remove an object; no error when there is none."""
        ...

    def delete_prefix(self, prefix: str) -> int:
        """Remove all objects under a prefix; how many there were."""
        ...

    def sweep_unfinished(self, *, older_than_seconds: float) -> int:
        """Remove what writes have left that were cut off so long ago; how many there were."""
        ...

    def presign(self, key: str, *, expires_seconds: int, filename: str) -> str | None:
        """A URL that lets anyone download the object for a while, under that file name.

        None: this store has no such URLs; send the bytes.
        """
        ...

    def ping(self) -> None:
        """Return when the store can be read and written to."""
        ...
