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
    "host",
    [
        *("localhost", "LOCALHOST:8000", "localhost.", "onepair.localhost:1", "gateway:8000"),
        *("127.0.0.1:9", "[::1]:8000", "[::ffff:127.0.0.1]", "10.0.0.1"),
        "host.docker.internal:8000",
    ],
)
def test_names_that_no_stranger_can_publish(gateway: TestClient, host: str) -> None:
    assert gateway.get("/jobs", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8000", "localhost.evil.example", "[", "", "a@b.example"]
)
def test_a_name_that_is_made_to_resolve_to_us_is_refused(gateway: TestClient, host: str) -> None:
    assert_refused(gateway.get("/jobs", headers={"Host": host}), 403, "wrong_host")
    refused = gateway.delete(f"/jobs/{'0' * 32}", headers={"Host": host})
    assert_refused(refused, 403, "wrong_host")


def test_where_others_are_let_in_by_purpose_a_public_name_has_to_be_told(
    settings: Settings,
) -> None:
    """As in the compose file: it listens everywhere, and is published on loopback."""
    everywhere = settings.model_copy(update={"host": "0.0.0.0", "allow_open": True})
    for allowed, status in (("", 403), ("lab.example, b.example", 200)):
        told = everywhere.model_copy(update={"allowed_hosts": allowed})
        with TestClient(create_app(told)) as gateway:
            answer = gateway.get("/jobs", headers={"Host": "Lab.example:8000"})
            assert answer.status_code == status


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:3000"},
        {"Origin": "http://127.0.0.1:8000"},
        {"Origin": "http://localhost:99999"},
        {"Origin": "http://localhost:8000", "Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_another_sites_page_can_post_nothing(gateway: TestClient, headers: dict[str, str]) -> None:
    refused = gateway.post("/jobs", files=pair_files(), headers=headers)
    assert_refused(refused, 403, "other_site")
    assert gateway.get("/jobs").json()["items"] == []


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://localhost:8000"},
        {"Origin": "http://localhost:8000", "Sec-Fetch-Site": "same-origin"},
        {"Origin": "http://elsewhere", "Sec-Fetch-Site": "same-origin"},
        {"Origin": "https://lab", "Host": "lab:443"},
        {"Origin": "http://lab:80", "Host": "lab"},
    ],
)
def test_the_services_own_page_may_post(gateway: TestClient, headers: dict[str, str]) -> None:
    assert gateway.post("/jobs", files=pair_files(), headers=headers).status_code == 202


def test_with_keys_neither_matters(gateway: TestClient, settings: Settings) -> None:
    _, token = ApiKeyFile(settings.api_keys_path).create("lab")
    headers = {"Authorization": f"Bearer {token}", "Host": "lab.example"}
    assert gateway.get("/jobs", headers=headers).status_code == 200
    headers["Origin"] = "https://tool.example"
    assert gateway.post("/jobs", files=pair_files(), headers=headers).status_code == 202
