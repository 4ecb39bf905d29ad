"""``GET /presets`` says what a dry run of each preset would plan."""

from __future__ import annotations

import pytest

from osmis_core.data.presets import PRESETS
from tests.integration.service.client import TestClient
from tests.integration.service.pairs import index_mask, pair_files, photograph, png


@pytest.mark.parametrize("name", PRESETS)
def test_a_dry_run_agrees(name: str, gateway: TestClient) -> None:
    items = gateway.get("/presets").json()["items"]
    told = next(item for item in items if item["name"] == name)
    files = pair_files(png(photograph(600, 400)), png(index_mask(600, 400)))

    planned = gateway.post(
        "/jobs", files=files, data={"preset": name, "dry_run": "true", "allow_slow": "true"}
    ).json()

    assert told["estimated_seconds"] == planned["estimated_seconds"]
    assert told["method"] == planned["method"]
    refused = gateway.post("/jobs", files=files, data={"preset": name, "dry_run": "true"})
    assert (refused.status_code == 200) == told["usable_here"]
    assert told["summary"]
