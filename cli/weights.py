"""``onepair weights install``: the network that SIFID is measured with, from a file or a URL.

OnePair brings no ImageNet InceptionV3. With torchvision's ``inception_v3_google`` weights sets are
ranked and scored as in the paper; without them by the networks that come along, under their names.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

import httpx2

INSTALLED_AS = Path("weights") / "inception_v3.pth"
MAX_BYTES = 500_000_000
CHUNK_BYTES = 1 << 20
_HASH = re.compile(r"[0-9a-f]{64}")
_HASH_IN_NAME = re.compile(r"-([0-9a-f]{8,64})\.pth$")


class WeightsError(Exception):
    """They were not installed; what was there before is there still.

    Attributes:
        hint: what to do about it.
        is_input: what was asked for was at fault.
    """

    def __init__(self, detail: str, hint: str, *, is_input: bool = True) -> None:
        super().__init__(detail)
        self.hint = hint
        self.is_input = is_input


@dataclass(frozen=True)
class InstalledWeights:
    """Where they are, and what the settings have to say of them."""

    path: Path
    sha256: str

    def settings(self) -> str:
        """As lines of an environment file."""
        return f"ONEPAIR_INCEPTION_WEIGHTS={self.path}\nONEPAIR_INCEPTION_SHA256={self.sha256}"


def install_weights(source: str, sha256: str | None, data_dir: Path) -> InstalledWeights:
    """Copies or downloads the file, and keeps it if its hash is the one expected.

    Args:
        source: a path, or an ``http(s)`` URL.
        sha256: 64 hexadecimal digits, or None: the digits at the end of the source's name
            (``inception_v3_google-0cc3c7bd.pth``), as PyTorch publishes weights.
        data_dir: gets it, under ``weights/``.

    Raises:
        WeightsError: it can't be had, or is not the file that was meant.
    """
    expected = _expected(source, sha256)
    target = data_dir / INSTALLED_AS
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    try:
        with partial.open("wb") as file:
            found = _copy(source, file)
        if not found.startswith(expected):
            raise WeightsError(
                f"Its SHA-256 is {found}, and {expected} was expected.",
                "The file is damaged or another one; get it again.",
            )
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    return InstalledWeights(target, found)


def _expected(source: str, sha256: str | None) -> str:
    if sha256 is not None:
        if not _HASH.fullmatch(sha256.lower()):
            raise WeightsError("--sha256 is 64 hexadecimal digits.", "sha256sum FILE prints it.")
        return sha256.lower()
    named = _HASH_IN_NAME.search(urlsplit(source).path)
    if named is None:
        raise WeightsError(
            "Nothing says which file is meant.",
            "Give --sha256, or keep the published name: inception_v3_google-0cc3c7bd.pth.",
        )
    return named[1]


def _copy(source: str, file: BinaryIO) -> str:
    """All bytes into ``file``; their SHA-256."""
    digest, size = hashlib.sha256(), 0
    with _opened(source) as chunks:
        for chunk in chunks:
            size += len(chunk)
            if size > MAX_BYTES:
                raise WeightsError(
                    f"More than {MAX_BYTES / 1e6:.0f} MB.", "InceptionV3's weights have 109 MB."
                )
            digest.update(chunk)
            file.write(chunk)
    return digest.hexdigest()


@contextmanager
def _opened(source: str) -> Iterator[Iterator[bytes]]:
    if urlsplit(source).scheme in {"http", "https"}:
        try:
            with httpx2.stream("GET", source, follow_redirects=True, timeout=30) as response:
                if response.is_error:
                    raise WeightsError(
                        f"{source} answers {response.status_code}.", "Is the address right?"
                    )
                yield response.iter_bytes(CHUNK_BYTES)
        except httpx2.TransportError as error:
            raise WeightsError(
                f"{source} can't be reached: {error}",
                "Get the file elsewhere, and give its path.",
                is_input=False,
            ) from error
        return
    try:
        with Path(source).open("rb") as opened:
            yield iter(lambda: opened.read(CHUNK_BYTES), b"")
    except OSError as error:
        raise WeightsError(f"{source}: {error.strerror}", "Is the path right?") from error
