"""Where inputs, checkpoints, archives and final records are kept: a folder, or S3."""

from __future__ import annotations

from jobs.objects.base import (
    CHUNK_BYTES,
    JUST_A_LOOK,
    SOMEBODY_WAITS,
    WITH_TIME,
    ObjectInfo,
    ObjectStore,
    Patience,
)
from jobs.objects.folder import FolderStore
from jobs.settings import Settings

__all__ = [
    "CHUNK_BYTES",
    "JUST_A_LOOK",
    "SOMEBODY_WAITS",
    "FolderStore",
    "ObjectInfo",
    "ObjectStore",
    "open_store",
]


def open_store(settings: Settings, *, patience: Patience = WITH_TIME) -> ObjectStore:
    """The store that the settings name. S3's client is imported only when it is used.

    Args:
        settings: where it is.
        patience: with a store that is not this machine's.
    """
    if settings.store == "folder":
        return FolderStore(settings.data_dir / "objects")
    from jobs.objects.s3 import S3Store

    return S3Store.from_settings(settings, patience=patience)
