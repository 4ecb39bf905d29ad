"""What the OpenAPI document says beyond the routes themselves."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from service.problems import PROBLEM_MEDIA_TYPE

_HEADERS = {
    "Location": "Address of what was created.",
    "Retry-After": "Seconds after which to look again.",
    "ETag": "Version of the representation, for If-None-Match.",
    "Idempotent-Replayed": "`true` where the Idempotency-Key had created this job before.",
    "Accept-Ranges": "`bytes`: parts of the file can be asked for.",
    "Content-Range": "Which part of the file this is.",
    "Content-Disposition": "The file's name.",
}
DESCRIPTION = """\
One annotated image in, a training set out.

`POST /jobs` takes a photograph and its segmentation mask; `GET /jobs/{id}/samples` gives new
image-mask pairs made from them. With `mask_supervision=none` the photograph alone is taken, and new
images are given. Every refusal is `application/problem+json` (RFC 9457) with a stable `code` and a
`hint`. Times are RFC 3339, UTC.
"""


def header_docs(*names: str) -> dict[str, Any]:
    """OpenAPI's description of response headers."""
    return {name: {"description": _HEADERS[name], "schema": {"type": "string"}} for name in names}


def install_openapi(app: FastAPI) -> None:
    """Make ``app.openapi()`` show our problems only.

    The framework adds its own 422 to each route with a parameter. Where we don't document one,
    no parameter can fail, and our handler would answer in another form anyway.
    """

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _with_our_problems(
                get_openapi(
                    title=app.title,
                    version=app.version,
                    description=app.description,
                    routes=app.routes,
                    tags=app.openapi_tags,
                )
            )
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]


def _with_our_problems(schema: dict[str, Any]) -> dict[str, Any]:
    for operations in schema["paths"].values():
        for operation in operations.values():
            responses = operation["responses"]
            if "HTTPValidationError" in str(responses.get("422", "")):
                del responses["422"]
            for response in responses.values():
                # The model brings application/json along; problems have a type of their own.
                content = response.get("content", {})
                if PROBLEM_MEDIA_TYPE in content:
                    content.pop("application/json", None)
    for name in ("HTTPValidationError", "ValidationError"):
        schema["components"]["schemas"].pop(name, None)
    return schema
