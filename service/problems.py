"""Refusals on the wire: ``application/problem+json`` (RFC 9457) with ``code`` and ``hint``."""

from __future__ import annotations

from collections import defaultdict
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from jobs.api_keys import ApiKeyError
from jobs.errors import JobsError, ObjectMissing, StoreAway, StoreFull
from service.answer_headers import SAFE
from service.problem_codes import PROBLEM_KINDS
from service.request_id import HEADER as REQUEST_ID_HEADER

PROBLEM_MEDIA_TYPE = "application/problem+json"
_TYPE_PREFIX = "urn:onepair:problem:"
_CODE_OF_STATUS = {
    400: "malformed",
    404: "not_found",
    405: "method_not_allowed",
    413: "too_large",
    416: "range_not_satisfiable",
}
_OF_CALLERS = (
    "no_api_key", "wrong_api_key", "revoked_api_key", "wrong_host", "other_site",
    "too_many_requests", "keys_unreadable",
)  # fmt: skip
_LOG = structlog.get_logger(__name__)


class FieldError(BaseModel):
    """What is wrong with one field of the input."""

    field: str = Field(description="Path of the field, dots between its parts.", examples=["n"])
    code: str = Field(
        description="Stable name of the rule that failed.", examples=["greater_than_equal"]
    )
    message: str = Field(examples=["Input should be greater than or equal to 1"])


class Problem(BaseModel):
    """Why a request was refused (RFC 9457)."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(description="URI of the kind of problem; ends in `code`.")
    title: str = Field(description="The kind of problem; the same for every occurrence.")
    status: int = Field(description="The HTTP status.")
    detail: str = Field(description="What is wrong with this request, with its numbers.")
    code: str = Field(description="Stable name for programs to branch on.")
    hint: str = Field(description="What to do about it.")
    errors: list[FieldError] = Field(
        default_factory=list, description="The fields at fault, where the input is."
    )


class ProblemError(Exception):
    """A refusal on its way to the caller.

    Attributes:
        code: a key of ``PROBLEM_KINDS``.
        detail: what is wrong with this request; the kind's title when empty.
        hint: overrides the kind's own hint.
        errors: the fields at fault.
        members: extension members (RFC 9457, section 3.2), such as a job's progress.
        headers: sent beside ``Retry-After``.
    """

    def __init__(
        self,
        code: str,
        detail: str = "",
        *,
        hint: str = "",
        errors: list[FieldError] | None = None,
        members: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(detail or code)
        self.code = code
        self.detail = detail
        self.hint = hint
        self.errors = errors or []
        self.members = members or {}
        self.headers = headers or {}


def problem_body(error: ProblemError) -> dict[str, Any]:
    """The JSON of one refusal; its code must be registered."""
    kind = PROBLEM_KINDS[error.code]
    return {
        **error.members,
        "type": _TYPE_PREFIX + error.code,
        "title": kind.title,
        "status": kind.status,
        "detail": error.detail or kind.title + ".",
        "code": error.code,
        "hint": error.hint or kind.hint,
        "errors": [one.model_dump() for one in error.errors],
    }


def problem_response(error: ProblemError) -> JSONResponse:
    """The answer for one refusal, ``Retry-After`` included where waiting helps."""
    kind = PROBLEM_KINDS[error.code]
    sent = dict(error.headers)
    if kind.retry_after_seconds is not None:
        sent.setdefault("Retry-After", str(kind.retry_after_seconds))
    return JSONResponse(
        problem_body(error),
        status_code=kind.status,
        headers={"Cache-Control": "no-store", **sent},
        media_type=PROBLEM_MEDIA_TYPE,
    )


def problem_responses(*codes: str) -> dict[int | str, dict[str, Any]]:
    """OpenAPI ``responses`` that document these refusals, with one example a code."""
    by_status: dict[int, list[str]] = defaultdict(list)
    for code in codes:
        by_status[PROBLEM_KINDS[code].status].append(code)
    return {
        status: {
            "model": Problem,
            "description": "; ".join(PROBLEM_KINDS[code].title for code in group),
            "content": {
                PROBLEM_MEDIA_TYPE: {
                    "schema": {"$ref": "#/components/schemas/Problem"},
                    "examples": {
                        code: {
                            "summary": PROBLEM_KINDS[code].title,
                            "value": problem_body(ProblemError(code, PROBLEM_KINDS[code].example)),
                        }
                        for code in group
                    },
                }
            },
        }
        for status, group in sorted(by_status.items())
    }


def caller_responses(*codes: str) -> dict[int | str, dict[str, Any]]:
    """Of a route that asks who calls: these refusals, and those of a caller."""
    return problem_responses(*codes, *_OF_CALLERS)


def field_errors(errors: list[dict[str, Any]]) -> list[FieldError]:
    """Pydantic's error list as ours: paths without the transport's prefix, no echoed input."""
    found = []
    for error in errors:
        location = [str(part) for part in error["loc"]]
        if location and location[0] in {"body", "query", "path", "header"}:
            location = location[1:]
        found.append(
            FieldError(
                field=".".join(location) or "body",
                code=str(error["type"]),
                message=str(error["msg"]).removeprefix("Value error, "),
            )
        )
    return found


def invalid_request(errors: list[dict[str, Any]]) -> ProblemError:
    """The refusal of fields that failed validation."""
    found = field_errors(errors)
    count = "1 field is" if len(found) == 1 else f"{len(found)} fields are"
    names = ", ".join(error.field for error in found)
    return ProblemError("invalid_request", f"{count} not valid: {names}.", errors=found)


def install_problem_handlers(app: FastAPI) -> None:
    """Make every refusal of ``app`` a problem document."""

    @app.exception_handler(ProblemError)
    async def refused(_request: Request, error: ProblemError) -> JSONResponse:
        return problem_response(error)

    @app.exception_handler(RequestValidationError)
    async def invalid(_request: Request, error: RequestValidationError) -> JSONResponse:
        return problem_response(invalid_request([dict(one) for one in error.errors()]))

    @app.exception_handler(HTTPException)
    async def http_error(_request: Request, error: HTTPException) -> JSONResponse:
        code = _CODE_OF_STATUS.get(error.status_code, "internal_error")
        # The framework's bare phrases ("Not Found") say less than our own titles.
        is_bare = code == "too_large" or error.detail == HTTPStatus(error.status_code).phrase
        detail = "" if is_bare else str(error.detail)
        return problem_response(ProblemError(code, detail, headers=dict(error.headers or {})))

    @app.exception_handler(JobsError)
    async def store_error(request: Request, error: JobsError) -> JSONResponse:
        _LOG.warning("store_refused", path=request.url.path, error=repr(error))
        return problem_response(store_problem(error))

    @app.exception_handler(Exception)
    async def unexpected(request: Request, error: Exception) -> JSONResponse:
        # The process's boundary: the details go to the log, never to the caller.
        # The framework answers this one outside of our middlewares.
        request_id = str(getattr(request.state, "request_id", ""))
        path = request.url.path
        _LOG.error("request_failed", path=path, request_id=request_id, exc_info=error)
        response = problem_response(ProblemError("internal_error"))
        response.headers.update({**SAFE, REQUEST_ID_HEADER: request_id})
        return response


def store_problem(error: JobsError) -> ProblemError:
    """What a caller is told of it: hosts and paths in the error's own text are for the log."""
    if isinstance(error, StoreFull):
        return ProblemError("store_full")
    if isinstance(error, StoreAway):
        return ProblemError("store_away")
    if isinstance(error, ApiKeyError):
        return ProblemError("keys_unreadable")
    if isinstance(error, ObjectMissing):
        return ProblemError("gone", "What was asked for has been deleted.")
    return ProblemError("internal_error")
