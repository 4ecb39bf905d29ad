"""A set's files: the entries of a zip or of a folder, read one at a time into memory.

Nothing is ever extracted, so a name in a zip can't reach outside; an archive that tries is refused
all the same, for it was made to harm.
"""

from __future__ import annotations

import stat
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

from osmis_core.errors import OsmisError

_LAYOUT_HINT = "Give a zip, or a folder, with images/ and masks/ in it."
_BROKEN_HINT = "The file is damaged or was cut short: make or download it again."
_UNIX = 3
# What zipfile raises on damaged or unsupported entries; RuntimeError is a missing password.
_READ_ERRORS = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError)


class EvaluationError(OsmisError):
    """A set can't be measured; ``code`` says why (``no_pairs``, ``size_mismatch``, …)."""

    code = "bad_set"


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What is read of a set, at most.

    Attributes:
        entries: files in a zip; a set of 10 000 pairs has 20 000 and a few.
        file_bytes: of one file, unpacked.
        pixels: of one image.
    """

    entries: int = 100_000
    file_bytes: int = 256_000_000
    pixels: int = 50_000_000


class SetFiles(Protocol):
    """Names of files, relative and with forward slashes, and their contents."""

    names: tuple[str, ...]

    def read(self, name: str) -> bytes:
        """The content of one of ``names``."""


@contextmanager
def open_files(path: Path, limits: Limits) -> Iterator[SetFiles]:
    """Opens a zip or a folder.

    Raises:
        EvaluationError: ``not_found``, ``not_a_set``, ``broken_archive``, ``too_many_entries`` or
            ``unsafe_name``; when reading also ``too_large_entry`` and ``encrypted``.
    """
    if path.is_dir():
        yield _Folder(path, limits)
        return
    if not path.is_file():
        raise EvaluationError(f"there is no {path}", hint=_LAYOUT_HINT, code="not_found")
    if not zipfile.is_zipfile(path):
        raise EvaluationError(f"{path.name} is no zip file", hint=_LAYOUT_HINT, code="not_a_set")
    try:
        archive = zipfile.ZipFile(path)
    except (*_READ_ERRORS, OSError) as error:
        raise _broken(path.name, error) from error
    with archive:
        yield _Zip(archive, limits)


class _Folder:
    """The files one level below a folder's subfolders: ``images/a.png``."""

    def __init__(self, path: Path, limits: Limits) -> None:
        self._path = path
        self._limits = limits
        found = (p.relative_to(path).as_posix() for p in path.glob("*/*") if p.is_file())
        self.names = tuple(sorted(found))

    def read(self, name: str) -> bytes:
        file = self._path / name
        try:
            if file.stat().st_size > self._limits.file_bytes:
                raise _too_large(name, self._limits)
            return file.read_bytes()
        except OSError as error:
            raise EvaluationError(
                f"{name} can't be read: {error.strerror}",
                hint="Check that it is there and that you may read it.",
                code="unreadable",
            ) from error


class _Zip:
    """The entries of an archive; every one is read within the limits, whatever its header says."""

    def __init__(self, archive: zipfile.ZipFile, limits: Limits) -> None:
        self._archive = archive
        self._limits = limits
        entries = archive.infolist()
        if len(entries) > limits.entries:
            raise EvaluationError(
                f"the zip has {len(entries)} entries; at most {limits.entries} are read",
                hint="Pack fewer files, or give the unpacked folder.",
                code="too_many_entries",
            )
        for entry in entries:
            _check_name(entry)
        self.names = tuple(sorted({e.filename for e in entries if not e.is_dir()}))

    def read(self, name: str) -> bytes:
        entry = self._archive.getinfo(name)
        if entry.flag_bits & 1:
            raise EvaluationError(
                f"{name} is encrypted", hint="Give the set without a password.", code="encrypted"
            )
        if entry.file_size > self._limits.file_bytes:
            raise _too_large(name, self._limits)
        try:
            with self._archive.open(entry) as file:
                content = file.read(self._limits.file_bytes + 1)
        except (*_READ_ERRORS, OSError) as error:
            raise _broken(name, error) from error
        if len(content) > self._limits.file_bytes:
            raise _too_large(name, self._limits)
        return content


def _check_name(entry: zipfile.ZipInfo) -> None:
    """Refuses names that would leave the folder they are unpacked in, and links."""
    name = entry.orig_filename
    parts = PurePosixPath(name).parts
    leaves = name.startswith("/") or ".." in parts or "\\" in name or "\0" in name
    has_drive = bool(parts) and parts[0].endswith(":")
    is_link = entry.create_system == _UNIX and stat.S_ISLNK(entry.external_attr >> 16)
    if leaves or has_drive or is_link:
        kind = "is a link" if is_link else "points outside of the archive"
        raise EvaluationError(
            f"the zip's entry {name!r} {kind}",
            hint="Don't unpack this file. Pack the set again: images/ and masks/, nothing else.",
            code="unsafe_name",
        )


def _too_large(name: str, limits: Limits) -> EvaluationError:
    return EvaluationError(
        f"{name} is larger than {limits.file_bytes / 1e6:g} MB",
        hint="No image of a set needs that much: check how it was made.",
        code="too_large_entry",
    )


def _broken(name: str, error: BaseException) -> EvaluationError:
    return EvaluationError(
        f"{name} can't be read: {str(error) or type(error).__name__}",
        hint=_BROKEN_HINT,
        code="broken_archive",
    )
