"""Uploaded files on their way to the decoder: on disk, hashed, under names of ours."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

from fastapi import UploadFile

from jobs.errors import is_out_of_room
from service.problems import ProblemError

FileRole = Literal["image", "mask"]
_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class ReceivedFile:
    """One upload as stored for decoding.

    Attributes:
        path: where it lies; never the client's name.
        client_name: what the client called it: for the check of its extension, nothing else.
        sha256: of the bytes as received.
    """

    path: Path
    client_name: str
    sha256: str


def is_given(upload: UploadFile | None) -> bool:
    """Whether there is a file; a browser sends an empty one for a field that was left out."""
    return upload is not None and bool(upload.size)


async def receive(upload: UploadFile | None, role: FileRole, folder: Path) -> ReceivedFile:
    """Store one upload as ``folder/<role>``.

    Raises:
        ProblemError: ``image_missing`` or ``mask_missing``; ``store_full``.
    """
    if upload is None:
        raise ProblemError(f"{role}_missing", f"The form has no file `{role}`.")
    try:
        sha256, size_bytes = await asyncio.to_thread(_store, upload.file, folder / role)
    except OSError as error:
        if not is_out_of_room(error):
            raise
        raise ProblemError("store_full", "There is no room for the upload.") from error
    if size_bytes == 0:
        raise ProblemError(f"{role}_missing", f"The file `{role}` is empty.")
    return ReceivedFile(path=folder / role, client_name=upload.filename or "", sha256=sha256)


def _store(source: BinaryIO, path: Path) -> tuple[str, int]:
    digest = hashlib.sha256()
    size_bytes = 0
    with path.open("xb") as target:
        while chunk := source.read(_CHUNK_BYTES):
            size_bytes += len(chunk)
            digest.update(chunk)
            target.write(chunk)
    return digest.hexdigest(), size_bytes
