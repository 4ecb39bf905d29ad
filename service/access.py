"""Who calls: callers are known by their API keys.

Without keys everybody may do everything, as suits one's own machine. With the first key on, a
caller sees what was made with the same key, and nothing else is admitted to exist.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Annotated

import redis.asyncio
import structlog
from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from jobs.api_keys import ApiKey, ApiKeyFile, find_key
from jobs.errors import JobsError
from jobs.settings import Settings
from jobs.state.key_use import note_use
from service.problems import ProblemError
from service.request_limit import Allowance, RequestLimit

_LOG = structlog.get_logger(__name__)
_NOTED_AGAIN_SECONDS = 60.0
_CHALLENGE = {"WWW-Authenticate": 'Bearer realm="onepair"'}
_BEARER = HTTPBearer(
    auto_error=False, description="An API key of `onepair keys create`, where the service has any."
)


@dataclass(frozen=True, kw_only=True)
class Caller:
    """Whose jobs a request is about.

    Attributes:
        key_id: of the API key; None: the service asks for none, and all jobs are everybody's.
    """

    key_id: str | None

    @property
    def owner(self) -> str:
        """Of what this caller makes."""
        return self.key_id or ""

    def may_see(self, owner: str) -> bool:
        """Whether what this owner has made is the caller's."""
        return self.key_id is None or self.key_id == owner


class Gatekeeper:
    """Finds the caller of a request by its API key.

    The file is read again when it changes, so that a new key works, and a revoked one doesn't, from
    the next request on. Where there were keys once, they are asked for until the process ends.

    Args:
        settings: where the keys are, and how many requests they are good for.
        client: of Valkey, for when keys were last used.
    """

    def __init__(self, settings: Settings, client: redis.asyncio.Redis) -> None:
        self._settings, self._client = settings, client
        self._file = ApiKeyFile(settings.api_keys_path)
        self._is_required = settings.api_keys_file is not None
        self._version: tuple[int, ...] | None = None
        self._keys: tuple[ApiKey, ...] = ()
        self._noted: dict[str, float] = {}
        self._limit = RequestLimit(settings)

    @property
    def asks_for_keys(self) -> bool:
        """Whether a request needs one.

        Raises:
            ApiKeyError: the file of keys can't be read.
        """
        self._read_again()
        return self._is_required

    async def admit(self, token: str | None) -> tuple[Caller, Allowance | None]:
        """The caller, and what is left of their requests after this one.

        Args:
            token: of the ``Authorization`` header.

        Raises:
            ProblemError: ``no_api_key``, ``wrong_api_key``, ``revoked_api_key`` or
                ``too_many_requests``.
            ApiKeyError: the file of keys can't be read.
        """
        if not self.asks_for_keys:
            return Caller(key_id=None), None
        if token is None:
            raise ProblemError("no_api_key", headers=_CHALLENGE)
        key = find_key(self._keys, token)
        if key is None:
            raise ProblemError("wrong_api_key", headers=_CHALLENGE)
        if key.revoked_at is not None:
            raise ProblemError("revoked_api_key", headers=_CHALLENGE)
        allowance = await self._limit.count(key.id)
        await self._note_use(key.id)
        return Caller(key_id=key.id), allowance

    async def aclose(self) -> None:
        """Closes what counts requests."""
        await self._limit.aclose()

    def _read_again(self) -> None:
        try:
            state = self._file.path.stat()
            version = (state.st_mtime_ns, state.st_size, state.st_ino)
        except OSError:
            version = None
        if version == self._version:
            return
        keys = self._file.read()
        # a file that is gone leaves its keys as they were: losing it must open nothing
        if version is not None:
            self._keys, self._is_required = keys, True
        self._version = version

    async def _note_use(self, key_id: str) -> None:
        now = time.monotonic()
        if now - self._noted.get(key_id, -_NOTED_AGAIN_SECONDS) < _NOTED_AGAIN_SECONDS:
            return
        self._noted[key_id] = now
        try:
            await note_use(self._client, self._settings, key_id)
        except JobsError as error:
            _LOG.warning("key_use_not_noted", error=repr(error))


async def _caller(
    request: Request, given: Annotated[HTTPAuthorizationCredentials | None, Security(_BEARER)]
) -> Caller:
    gatekeeper: Gatekeeper = request.app.state.services.gatekeeper
    caller, allowance = await gatekeeper.admit(given.credentials if given else None)
    if allowance is not None:
        request.state.answer_headers = allowance.headers()
    return caller


CallerDep = Annotated[Caller, Depends(_caller)]
