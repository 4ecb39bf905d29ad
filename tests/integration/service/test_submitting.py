"""POST /jobs: what is accepted, what is stored, and that a repeat is the same job."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from PIL import Image

from jobs.objects import FolderStore
from jobs.queue import Queue
from jobs.record import Kind
from jobs.state import TaskStore
from tests.integration.service.client import TestClient
from tests.integration.service.pairs import index_mask, pair_files, photograph, png, submit


def test_a_pair_becomes_a_queued_job(
    gateway: TestClient, objects: FolderStore, queue: Queue
) -> None:
    response = gateway.post(
        "/jobs",
        files=pair_files(),
        data={
            "classes": '["background", "box", "ball"]',
            "preset": "draft",
            "seed": "7",
            "metadata": '{"project": "demo"}',
        },
    )
    assert response.status_code == 202, response.text
    job = response.json()
    assert response.headers["location"] == f"/jobs/{job['id']}"
    assert int(response.headers["retry-after"]) > 0
    assert job["status"] == "queued"
    assert job["queue_position"] == 1
    assert [one["name"] for one in job["classes"]] == ["background", "box", "ball"]
    assert abs(sum(one["area_fraction"] for one in job["classes"]) - 1) < 1e-6
    assert job["metadata"] == {"project": "demo"}
    assert job["created_at"].endswith("Z")
    assert job["plan"]["preset"] == "draft"
    keys = [info.key for info in objects.list(f"jobs/{job['id']}/")]
    assert keys == [
        f"jobs/{job['id']}/input/{name}" for name in ("image.png", "mask.png", "pair.json")
    ]
    assert queue.waiting(Kind.JOB) == 1


def test_what_is_stored_is_encoded_anew(gateway: TestClient, objects: FolderStore) -> None:
    image = png(photograph()) + b"<script>payload</script>"
    response = gateway.post("/jobs", files=pair_files(image=image))
    job_id = response.json()["id"]
    content = objects.get_bytes(f"jobs/{job_id}/input/image.png")
    assert content.startswith(b"\x89PNG")
    assert b"payload" not in content


def test_the_clients_file_names_are_not_used(
    gateway: TestClient, stored: Callable[[], list[str]]
) -> None:
    files = pair_files()
    hostile = {
        "image": ("../../etc/passwd%00.png", files["image"][1]),
        "mask": ("/tmp/evil.png", files["mask"][1]),
    }
    assert gateway.post("/jobs", files=hostile).status_code == 202
    assert not [key for key in stored() if "passwd" in key or "evil" in key]


def test_a_dry_run_says_how_the_pair_was_read_and_stores_nothing(
    gateway: TestClient, stored: Callable[[], list[str]]
) -> None:
    response = gateway.post("/jobs", files=pair_files(), data={"dry_run": "true"})
    assert response.status_code == 200, response.text
    read = response.json()
    assert read["image_size"] == {"width": 96, "height": 64}
    assert read["mask_encoding"] == "index"
    assert read["mask_encoding_declared"] is False
    assert len(read["classes"]) == 3
    assert read["planned_size"]["height"] >= 32
    assert read["output_size"] == {"width": 96, "height": 64}
    assert read["estimated_seconds"] > 60
    assert stored() == []
    assert gateway.get("/jobs").json()["items"] == []


def test_a_photograph_larger_than_the_output_is_welcome_with_a_warning(
    gateway: TestClient,
) -> None:
    files = pair_files(png(photograph(1_200, 900)), png(index_mask(1_200, 900)))
    read = gateway.post("/jobs", files=files, data={"dry_run": "true"}).json()
    assert "downscaled" in {warning["code"] for warning in read["warnings"]}
    assert read["output_size"] == {"width": 1024, "height": 768}


def test_grey_images_stay_grey(gateway: TestClient, objects: FolderStore) -> None:
    files = pair_files(image=png(photograph().convert("L")))
    job_id = gateway.post("/jobs", files=files).json()["id"]
    described = json.loads(objects.get_bytes(f"jobs/{job_id}/input/pair.json"))
    assert described["is_grey"] is True


def test_the_same_key_and_body_give_the_same_job(
    gateway: TestClient, stored: Callable[[], list[str]]
) -> None:
    headers = {"Idempotency-Key": "one"}
    first = gateway.post("/jobs", files=pair_files(), headers=headers)
    again = gateway.post("/jobs", files=pair_files(), headers=headers)
    assert (first.status_code, again.status_code) == (202, 202)
    assert again.json()["id"] == first.json()["id"]
    assert again.headers["idempotent-replayed"] == "true"
    assert "idempotent-replayed" not in first.headers
    assert len(stored()) == 3


def test_the_same_key_with_another_body_is_a_conflict(
    gateway: TestClient, stored: Callable[[], list[str]]
) -> None:
    headers = {"Idempotency-Key": "one"}
    gateway.post("/jobs", files=pair_files(), headers=headers)
    other = gateway.post("/jobs", files=pair_files(), headers=headers, data={"seed": "1"})
    assert other.status_code == 409
    assert other.json()["code"] == "idempotency_conflict"
    assert len(stored()) == 3


def test_a_race_under_one_key_leaves_one_job(
    gateway: TestClient, stored: Callable[[], list[str]]
) -> None:
    headers = {"Idempotency-Key": "race"}
    with ThreadPoolExecutor(4) as pool:
        futures = [
            pool.submit(gateway.post, "/jobs", files=pair_files(), headers=headers)
            for _ in range(4)
        ]
        ids = {future.result().json()["id"] for future in futures}
    assert len(ids) == 1
    assert len(stored()) == 3


def test_a_key_whose_job_was_deleted_is_gone(gateway: TestClient) -> None:
    headers = {"Idempotency-Key": "one"}
    job_id = gateway.post("/jobs", files=pair_files(), headers=headers).json()["id"]
    assert gateway.delete(f"/jobs/{job_id}").status_code == 204
    again = gateway.post("/jobs", files=pair_files(), headers=headers)
    assert again.status_code == 410
    assert again.json()["code"] == "gone"


def test_listing_pages_and_filters(gateway: TestClient) -> None:
    ids = [submit(gateway) for _ in range(3)]
    first = gateway.get("/jobs", params={"limit": 2}).json()
    rest = gateway.get("/jobs", params={"limit": 2, "after": first["next"]}).json()
    assert [job["id"] for job in first["items"] + rest["items"]] == ids[::-1]
    assert rest["next"] is None
    gateway.post(f"/jobs/{ids[0]}/cancel")
    cancelled = gateway.get("/jobs", params={"status": "cancelled"}).json()["items"]
    assert [job["id"] for job in cancelled] == [ids[0]]


def test_a_palette_mask_keeps_its_indices(gateway: TestClient) -> None:
    mask = index_mask().convert("P")
    mask.putpalette([0, 0, 0, 200, 30, 30, 30, 200, 30] + [0] * 759)
    assert mask.mode == "P"
    assert isinstance(mask, Image.Image)
    files = pair_files(mask=png(mask))
    read = gateway.post("/jobs", files=files, data={"dry_run": "true"}).json()
    assert len(read["classes"]) == 3


@pytest.mark.parametrize(("n", "wanted"), [(None, 100), ("7", 7), ("0", None)])
def test_the_first_set_is_as_large_as_asked_for(
    gateway: TestClient, task_store: TaskStore, n: str | None, wanted: int | None
) -> None:
    job_id = submit(gateway, **({} if n is None else {"n": n}))
    job = task_store.get_job(job_id)
    assert job is not None
    first_set = job.request.first_set
    assert (None if first_set is None else first_set.n) == wanted
