"""mask_supervision and low_level_blocks over HTTP: what is refused, what is planned and stored."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from jobs.objects import FolderStore
from tests.integration.service.client import TestClient
from tests.integration.service.pairs import pair_files
from tests.integration.service.refusals import assert_refused

Stored = Callable[[], list[str]]
NONE = {"mask_supervision": "none"}
OSMIS = {"method": "osmis", "preset": "draft"}


def image_file() -> dict[str, tuple[str, bytes]]:
    return {"image": pair_files()["image"]}


REFUSED: dict[str, tuple[dict[str, str], str]] = {
    "a mask that would not be used": (NONE, "mask_not_used"),
    "projection on frozen features": ({"mask_supervision": "projection"}, "needs_osmis"),
    "concatenation on frozen features": ({"mask_supervision": "input_concat"}, "needs_osmis"),
    "D_m on frozen features": (
        {"mask_supervision": "mask_discriminator", "method": "projected"},
        "needs_osmis",
    ),
    "low-level blocks on frozen features": ({"low_level_blocks": "2"}, "needs_osmis"),
    "more blocks than the size allows": (
        {**OSMIS, "low_level_blocks": "5", "max_size": "32"},
        "too_many_low_level_blocks",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_fit_together(case: str, gateway: TestClient, stored: Stored) -> None:
    fields, code = REFUSED[case]
    problem = assert_refused(gateway.post("/jobs", files=pair_files(), data=fields), 422, code)
    assert next(iter(fields)) in problem["detail"] or "low_level_blocks" in problem["detail"]
    dry = gateway.post("/jobs", files=pair_files(), data={**fields, "dry_run": "true"})
    assert_refused(dry, 422, code)
    assert stored() == []


@pytest.mark.parametrize("name", ["mca", "projection", "input_concat", "mask_discriminator"])
def test_without_a_mask_all_but_none_are_refused(name: str, gateway: TestClient) -> None:
    fields = {**OSMIS, "mask_supervision": name}
    problem = assert_refused(
        gateway.post("/jobs", files=image_file(), data=fields), 422, "mask_missing"
    )
    assert "mask_supervision=none" in problem["hint"]


@pytest.mark.parametrize(
    "described",
    [{"classes": '["background", "box"]'}, {"mask_encoding": "rgb"}, {"ignore_index": "255"}],
)
def test_fields_that_describe_a_mask_are_refused_without_one(
    described: dict[str, str], gateway: TestClient
) -> None:
    response = gateway.post("/jobs", files=image_file(), data={**NONE, **described})
    assert next(iter(described)) in assert_refused(response, 422, "mask_not_used")["detail"]


@pytest.mark.parametrize(
    "fields",
    [{"mask_supervision": "magic"}, {"low_level_blocks": "0"}, {"low_level_blocks": "6"}],
)
def test_values_out_of_range_are_named(fields: dict[str, str], gateway: TestClient) -> None:
    response = gateway.post("/jobs", files=pair_files(), data={**OSMIS, **fields})
    problem = assert_refused(response, 422, "invalid_request")
    assert [error["field"] for error in problem["errors"]] == list(fields)


@pytest.mark.parametrize("method", ["projected", "osmis"])
def test_an_image_alone_becomes_a_job(
    method: str, gateway: TestClient, objects: FolderStore
) -> None:
    fields = {**NONE, "method": method, "preset": "draft"}
    response = gateway.post("/jobs", files=image_file(), data=fields)
    assert response.status_code == 202, response.text
    job = response.json()
    assert job["classes"] == []
    assert list(job["input_sha256"]) == ["image"]
    assert (job["plan"]["mask_supervision"], job["plan"]["method"]) == ("none", method)
    described = json.loads(objects.get_bytes(f"jobs/{job['id']}/input/pair.json"))
    assert described["has_mask"] is False


def test_an_empty_mask_is_no_mask(gateway: TestClient) -> None:
    files: dict[str, Any] = {**image_file(), "mask": ("", b"")}
    response = gateway.post("/jobs", files=files, data={**NONE, "dry_run": "true"})
    assert response.status_code == 200, response.text


def test_a_dry_run_of_an_image_alone(gateway: TestClient, stored: Stored) -> None:
    response = gateway.post("/jobs", files=image_file(), data={**NONE, "dry_run": "true"})
    assert response.status_code == 200, response.text
    read = response.json()
    assert (read["mask_supervision"], read["mask_encoding"], read["classes"]) == (
        "none",
        "none",
        [],
    )
    assert read["image_size"] == {"width": 96, "height": 64}
    assert stored() == []


def test_a_wrong_image_alone_is_refused_as_any(gateway: TestClient) -> None:
    files = {"image": ("photo.png", b"hello, I am no image at all")}
    assert_refused(gateway.post("/jobs", files=files, data=NONE), 415, "unsupported_image")
    assert_refused(
        gateway.post("/jobs", data=NONE, files={"mask": ("", b"")}), 422, "image_missing"
    )


@pytest.mark.parametrize("name", ["projection", "input_concat", "mask_discriminator", "mca"])
def test_the_published_method_takes_every_supervision_and_depth(
    name: str, gateway: TestClient
) -> None:
    fields = {**OSMIS, "mask_supervision": name, "low_level_blocks": "1", "dry_run": "true"}
    response = gateway.post("/jobs", files=pair_files(), data=fields)
    assert response.status_code == 200, response.text
    plan = response.json()["plan"]
    assert (plan["mask_supervision"], plan["low_level_blocks"]) == (name, 1)


def test_one_key_with_and_without_a_mask_is_a_conflict(gateway: TestClient) -> None:
    headers = {"Idempotency-Key": "one"}
    first = gateway.post("/jobs", files=image_file(), data=NONE, headers=headers)
    again = gateway.post("/jobs", files=image_file(), data=NONE, headers=headers)
    assert (first.status_code, again.status_code) == (202, 202)
    assert again.json()["id"] == first.json()["id"]
    other = gateway.post("/jobs", files=pair_files(), headers=headers)
    assert_refused(other, 409, "idempotency_conflict")
