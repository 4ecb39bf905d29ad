"""A data folder belongs to one running service; others may learn its address from there."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jobs.settings import Settings
from jobs.valkey import EmbeddedValkey

LOCK_NAME = "serve.lock"
ADDRESS_NAME = "service.json"


class FolderInUseError(Exception):
    """Another service runs on this data folder."""


@contextmanager
def claimed(data_dir: Path) -> Iterator[None]:
    """Holds the folder for this process; the kernel lets go of it however the process ends.

    Raises:
        FolderInUseError: another service holds it.
    """
    data_dir.mkdir(parents=True, exist_ok=True)
    with (data_dir / LOCK_NAME).open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            address = read_address(data_dir)
            where = f" at {address}" if address else ""
            raise FolderInUseError(f"Another OnePair already runs on {data_dir}{where}.") from error
        try:
            yield
        finally:
            (data_dir / ADDRESS_NAME).unlink(missing_ok=True)


def is_claimed(data_dir: Path) -> bool:
    """Whether a service runs on the folder."""
    try:
        with (data_dir / LOCK_NAME).open("a+") as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def write_address(data_dir: Path, url: str) -> None:
    """Leaves the service's URL in its folder."""
    partial = data_dir / f"{ADDRESS_NAME}.part"
    partial.write_text(json.dumps({"url": url, "pid": os.getpid()}))
    partial.replace(data_dir / ADDRESS_NAME)


def read_address(data_dir: Path) -> str | None:
    """The URL that the folder's service left there."""
    try:
        url = json.loads((data_dir / ADDRESS_NAME).read_text())["url"]
    except (FileNotFoundError, json.JSONDecodeError, KeyError):
        return None
    return str(url)


def valkey_address(settings: Settings) -> str:
    """URL of the configured Valkey, or of the one that a service on the data folder starts."""
    if settings.valkey_url is not None:
        return settings.valkey_url.get_secret_value()
    return EmbeddedValkey(settings.data_dir).url
