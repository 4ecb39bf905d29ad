"""Without keys: a page in the operator's browser is not the operator."""

from __future__ import annotations

import pytest

from jobs.api_keys import ApiKeyFile
from jobs.settings import Settings
from service.app import create_app
from tests.integration.service.client import TestClient
from tests.integration.service.pairs import pair_files
from tests.integration.service.refusals import assert_refused


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:8000", "127.0.0.1:9", "127.1.2.3", "[::1]:8000"]
)
def test_loopback_has_several_names(gateway: TestClient, host: str) -> None:
    assert gateway.get("/jobs", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8000", "localhost.evil.example", "10.0.0.1", "[", "a@b"]
)
def test_a_name_that_is_made_to_resolve_to_loopback_is_refused(
    gateway: TestClient, host: str
) -> None:
    assert_refused(gateway.get("/jobs", headers={"Host": host}), 403, "wrong_host")
    refused = gateway.delete(f"/jobs/{'0' * 32}", headers={"Host": host})
    assert_refused(refused, 403, "wrong_host")


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://localhost:3000", "http://127.0.0.1:8000"]
)
def test_another_sites_page_can_post_nothing(gateway: TestClient, origin: str) -> None:
    refused = gateway.post("/jobs", files=pair_files(), headers={"Origin": origin})
    assert_refused(refused, 403, "other_site")
    assert gateway.get("/jobs").json()["items"] == []


def test_the_services_own_page_may_post(gateway: TestClient) -> None:
    own = {"Origin": "http://localhost:8000"}
    assert gateway.post("/jobs", files=pair_files(), headers=own).status_code == 202


def test_where_others_are_let_in_by_purpose_names_do_not_matter_but_pages_do(
    settings: Settings,
) -> None:
    everywhere = settings.model_copy(update={"host": "0.0.0.0", "allow_open": True})
    with TestClient(create_app(everywhere)) as gateway:
        assert gateway.get("/jobs", headers={"Host": "lab.example"}).status_code == 200
        strange = {"Host": "lab.example", "Origin": "https://evil.example"}
        assert_refused(gateway.post("/jobs", headers=strange), 403, "other_site")


def test_with_keys_neither_matters(gateway: TestClient, settings: Settings) -> None:
    _, token = ApiKeyFile(settings.api_keys_path).create("lab")
    headers = {"Authorization": f"Bearer {token}", "Host": "lab.example"}
    assert gateway.get("/jobs", headers=headers).status_code == 200
    headers["Origin"] = "https://tool.example"
    assert gateway.post("/jobs", files=pair_files(), headers=headers).status_code == 202
