"""API keys: who may call the service. Hashes in a file that ``onepair keys`` writes.

A file, not Valkey: were the state store ever lost, a service that asked for keys must not stand
open. A token is ``onepair_<id>_<secret>``; the id is public and names the owner of jobs, of the
secret only the SHA-256 of the whole token is kept.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from pydantic import Field, ValidationError

from jobs.errors import JobsError
from jobs.record import Frozen
from jobs.settings import Settings

SCHEMA_VERSION = 1
_PREFIX = "onepair"
_ID_BYTES = 6
_SECRET_BYTES = 32
_UNKNOWN_SHA256 = "0" * 64


class ApiKeyError(JobsError):
    """A key can't be made, found or read."""

    code = "bad_api_key"


class ApiKey(Frozen):
    """What is kept of one key.

    Attributes:
        id: public; owner of the jobs made with it.
        name: who or what uses it.
        sha256: of the token.
        created_at: UTC.
        revoked_at: from then on it is refused; it stays listed, its jobs are kept.
    """

    id: str = Field(pattern=r"^[0-9a-f]{12}$")
    name: str = Field(min_length=1, max_length=80, pattern=r"^[^\x00-\x1f\x7f]+$")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    created_at: datetime
    revoked_at: datetime | None = None


class _Document(Frozen):
    schema_version: int = SCHEMA_VERSION
    keys: tuple[ApiKey, ...] = ()


class ApiKeyFile:
    """The file of keys: read by the gateway, written by the command line.

    Args:
        path: need not exist yet; its folder is made when the first key is.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def was_made(self) -> bool:
        """Whether there were ever keys here: the file may be lost, what is locked for it is not.

        Raises:
            ApiKeyError: its folder can't be looked into.
        """
        try:
            return any(path.exists() for path in (self.path, self._lock_path))
        except OSError as error:
            raise ApiKeyError(f"{self.path} can't be looked for") from error

    @property
    def _lock_path(self) -> Path:
        return self.path.with_name(self.path.name + ".lock")

    def read(self) -> tuple[ApiKey, ...]:
        """All keys, revoked ones too; none where there is no file.

        Raises:
            ApiKeyError: the file can't be read, or is none of ours.
        """
        try:
            document = _Document.model_validate_json(self.path.read_bytes())
        except FileNotFoundError:
            return ()
        except (OSError, ValidationError) as error:
            raise ApiKeyError(
                f"{self.path} is not a readable file of API keys",
                hint="Make keys with `onepair keys create`, or restore the file.",
            ) from error
        if document.schema_version > SCHEMA_VERSION:
            raise ApiKeyError(
                f"{self.path} was written by a newer OnePair", hint="Upgrade OnePair here."
            )
        return document.keys

    def create(self, name: str) -> tuple[ApiKey, str]:
        """A new key, and its token, which is kept nowhere.

        Raises:
            ApiKeyError: a living key has this name, or no key can be called so.
        """
        key_id = secrets.token_hex(_ID_BYTES)
        token = f"{_PREFIX}_{key_id}_{secrets.token_urlsafe(_SECRET_BYTES)}"
        try:
            key = ApiKey(id=key_id, name=name, sha256=_sha256(token), created_at=datetime.now(UTC))
        except ValidationError as error:
            raise ApiKeyError(
                f"a key can't be called {name!r}", hint="1 to 80 characters, no control characters."
            ) from error

        def add(keys: tuple[ApiKey, ...]) -> tuple[ApiKey, ...]:
            if any(other.name == name and other.revoked_at is None for other in keys):
                raise ApiKeyError(
                    f"there is a key called {name!r}", hint="Revoke it first, or use another name."
                )
            return (*keys, key)

        self._change(add)
        return key, token

    def revoke(self, name_or_id: str) -> ApiKey:
        """Refuses a key from now on.

        Raises:
            ApiKeyError: no living key is called so.
        """
        if not self.read():
            raise _unknown(name_or_id)
        now = datetime.now(UTC)
        revoked: list[ApiKey] = []

        def end(key: ApiKey) -> ApiKey:
            if key.revoked_at is not None or name_or_id not in {key.id, key.name}:
                return key
            revoked.append(key.model_copy(update={"revoked_at": now}))
            return revoked[-1]

        self._change(lambda keys: tuple(end(key) for key in keys))
        if not revoked:
            raise _unknown(name_or_id)
        return revoked[0]

    def _change(self, change: Callable[[tuple[ApiKey, ...]], tuple[ApiKey, ...]]) -> None:
        """Replaces the file by a changed one; two commands at once wait for one another."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._locked():
            document = _Document(keys=change(self.read()))
            partial = self.path.with_name(self.path.name + ".part")
            partial.unlink(missing_ok=True)
            partial.touch(mode=0o600)
            with partial.open("w") as file:
                file.write(document.model_dump_json(indent=1) + "\n")
                file.flush()
                os.fsync(file.fileno())
            partial.replace(self.path)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with self._lock_path.open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def find_key(keys: Sequence[ApiKey], token: str) -> ApiKey | None:
    """The key that this token is of, revoked or not; None: of none.

    The public id finds it, the comparison of the hashes takes the same time however much of them
    agrees, and as long for an id that does not exist.
    """
    parts = token.split("_", 2)
    key_id = parts[1] if len(parts) == 3 and parts[0] == _PREFIX else ""
    found = next((key for key in keys if key.id == key_id), None)
    is_right = hmac.compare_digest(found.sha256 if found else _UNKNOWN_SHA256, _sha256(token))
    return found if is_right else None


def _unknown(name_or_id: str) -> ApiKeyError:
    return ApiKeyError(
        f"no key that is in use is called {name_or_id!r}", hint="`onepair keys list` shows them."
    )


def is_open_to_others(settings: Settings) -> bool:
    """Whether the gateway would listen beyond loopback and ask for no keys.

    Raises:
        ApiKeyError: the file of keys can't be read.
    """
    if settings.is_loopback or settings.api_keys_file is not None:
        return False
    return not ApiKeyFile(settings.api_keys_path).was_made


def _sha256(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
