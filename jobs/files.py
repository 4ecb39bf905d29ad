"""Local files, as gateway, worker and command line look at them."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path


def file_sha256(path: Path) -> str:
    """Hash of a file's bytes, read in pieces. Raises ``OSError``."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def free_bytes(folder: Path) -> int:
    """Room on the disk that a folder is on, or will be."""
    there = next(one for one in (folder, *folder.parents) if one.exists())
    return shutil.disk_usage(there).free
