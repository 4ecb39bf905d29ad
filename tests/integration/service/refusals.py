"""What every refusal must look like."""

from __future__ import annotations

from typing import Any

import httpx2

from service.problem_codes import PROBLEM_KINDS


def assert_refused(response: httpx2.Response, status: int, code: str) -> dict[str, Any]:
    """Status, media type, code, and words that help; the problem document."""
    problem = response.json()
    assert (response.status_code, problem["code"]) == (status, code), response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["cache-control"] == "no-store"
    assert problem["status"] == status
    assert problem["type"] == f"urn:onepair:problem:{code}"
    assert problem["title"] == PROBLEM_KINDS[code].title
    assert len(problem["hint"]) > 10
    assert len(problem["detail"]) > 10
    if status in {429, 503}:
        assert int(response.headers["retry-after"]) > 0
    for internal in ("Traceback", "Errno", "/tmp", ".sock", "127.0.0.1"):
        assert internal not in response.text
    return dict(problem)
