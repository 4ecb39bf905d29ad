"""Which version this is."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

API_VERSION = "1"


def package_version() -> str:
    """The installed package's version; ``0+unknown`` when run from a bare checkout."""
    try:
        return version("onepair")
    except PackageNotFoundError:
        return "0+unknown"
