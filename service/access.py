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
from fastapi.security import HTTPBearer
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from jobs.api_keys import ApiKey, ApiKeyError, ApiKeyFile, find_key
from jobs.errors import JobsError
from jobs.settings import Settings
from jobs.state.key_use import note_use
from service.problems import ProblemError, problem_response, store_problem
from service.request_limit import Allowance, RequestLimit
from service.same_site import refuse_other_sites

_LOG = structlog.get_logger(__name__)
_NOTED_AGAIN_SECONDS = 60.0
_OF_CALLERS = ("/jobs", "/webhook-secret")
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

    Attributes:
        allowed_hosts: names that the gateway answers to where no keys are asked for.
    """

    def __init__(self, settings: Settings, client: redis.asyncio.Redis) -> None:
        self._settings, self._client = settings, client
        self._file = ApiKeyFile(settings.api_keys_path)
        self._is_named = settings.api_keys_file is not None
        self._is_required = False
        self._version: tuple[int, ...] | None = None
        self._keys: tuple[ApiKey, ...] = ()
        self._noted: dict[str, float] = {}
        self._limit = RequestLimit(settings)
        named = settings.allowed_hosts.lower().split(",")
        self.allowed_hosts = frozenset(filter(None, map(str.strip, named)))

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
        except FileNotFoundError:
            # a file that is gone leaves its keys as they were: losing it must open nothing
            self._version = None
            self._is_required = self._is_required or self._is_named or self._file.was_made
            return
        except OSError as error:
            raise ApiKeyError(f"{self._file.path} can't be looked at") from error
        version = (state.st_mtime_ns, state.st_size, state.st_ino)
        if version != self._version:
            self._keys, self._is_required, self._version = self._file.read(), True, version

    async def _note_use(self, key_id: str) -> None:
        now = time.monotonic()
        if now - self._noted.get(key_id, -_NOTED_AGAIN_SECONDS) < _NOTED_AGAIN_SECONDS:
            return
        self._noted[key_id] = now
        try:
            await note_use(self._client, self._settings, key_id)
        except JobsError as error:
            _LOG.warning("key_use_not_noted", error=repr(error))


class AdmitCallers:
    """ASGI middleware: who is not let in is told so before a byte of their body is read.

    The framework reads a form before it solves a route's dependencies.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Notes the caller for the routes, or refuses."""
        if scope["type"] != "http" or not scope["path"].startswith(_OF_CALLERS):
            await self.app(scope, receive, send)
            return
        gatekeeper: Gatekeeper = scope["app"].state.services.gatekeeper
        headers = Headers(scope=scope)
        scheme, _, token = headers.get("authorization", "").partition(" ")
        is_bearer = scheme.lower() == "bearer"
        try:
            caller, allowance = await gatekeeper.admit(token.strip() if is_bearer else None)
            if caller.key_id is None:  # with keys, what no page knows is the key
                refuse_other_sites(scope["method"], headers, allowed_hosts=gatekeeper.allowed_hosts)
        except ProblemError as error:
            await problem_response(error)(scope, receive, send)
            return
        except ApiKeyError as error:
            _LOG.error("keys_unreadable", error=repr(error))
            await problem_response(store_problem(error))(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        state["caller"] = caller
        if allowance is not None:
            state["answer_headers"] = allowance.headers()
        await self.app(scope, receive, send)


async def _caller(
    request: Request, _documented: Annotated[object, Security(_BEARER)] = None
) -> Caller:
    caller: Caller = request.state.caller
    return caller


CallerDep = Annotated[Caller, Depends(_caller)]
