"""A set of screened candidates, and the same without: the parameter reaches the worker."""

from __future__ import annotations

from typing import Any

import pytest

from tests.customer import wait_until
from tests.e2e.conftest import Served

pytestmark = pytest.mark.timeout(400)


def test_candidates_are_screened_unless_that_is_left_out(shared: Served) -> None:
    job_id = shared.post(preset="draft", iterations="5", n="0")
    assert shared.wait_for_end(job_id)["status"] == "succeeded"

    def set_of(**wanted: Any) -> dict[str, Any]:
        def ready() -> dict[str, Any] | None:
            answer = shared.request("GET", f"/jobs/{job_id}/samples", params=wanted)
            found: dict[str, Any] = answer.json()
            return found if answer.status_code == 200 else None

        answered: dict[str, Any] = wait_until(ready)
        assert answered["status"] == "succeeded", answered
        return answered

    screened, plain = set_of(n=3), set_of(n=3, screen=False)
    assert screened["id"] != plain["id"]
    assert screened["metrics"]["screening"]["candidates_drawn"] > 1
    assert plain["metrics"]["screening"] is None
    assert {item["candidate"] for item in plain["items"]} == {0}
    # nothing looks like an object of the source after five steps, and who screens is told
    assert screened["metrics"]["screening"]["plausible_share"] < 0.5
    assert "few_plausible" in {warning["code"] for warning in screened["warnings"]}
    assert "few_plausible" not in {warning["code"] for warning in plain["warnings"]}
