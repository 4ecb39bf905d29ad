"""What earlier versions have written is read; what newer ones have written is left alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import redis
import torch
from safetensors.torch import save_file
from structlog.testing import capture_logs

from jobs.api_keys import ApiKeyFile
from jobs.errors import RecordTooNew
from jobs.housekeeping import run_round
from jobs.keeping import discard_leftovers, keep_end
from jobs.keys import record_key
from jobs.objects import FolderStore
from jobs.queue import Queue
from jobs.record import RECORD_SCHEMA, Kind, SampleSetRequest, Status, TaskRef
from jobs.settings import Settings
from jobs.state import Answer, Claim, Outcome, TaskStore
from jobs.terminal import archive_record, rebuild
from osmis_core.errors import CheckpointError
from osmis_core.generation import Sampler
from osmis_core.training.checkpoint import HEADER_KEY, SCHEMA_VERSION
from tests.builders import ENGINE, checkpoint, new_job, set_result
from tests.machine import trained_job
from worker.supervisor import Supervisor
from worker.workshop import Workshop

NEWEST = RECORD_SCHEMA + 1
FIRST = Path(__file__).parents[1] / "fixtures" / "schema_1"


def written(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FIRST / name).read_text())
    return found


def put_back(store: TaskStore) -> tuple[TaskRef, TaskRef]:
    """The first version's unfinished job and its set, each at its place in the line."""
    hashes = written("hashes.json")
    for address, fields in hashes.items():
        ref = TaskRef.parse(address)
        store.client.hset(store.keys.record(ref), mapping=fields)
        store.client.zadd(store.keys.pending(ref.kind), {address: int(fields["created_us"])})
    job, sample_set = sorted(map(TaskRef.parse, hashes), key=str)
    return job, sample_set


def test_tasks_of_the_first_version_are_claimed_and_finished(task_store: TaskStore) -> None:
    job, sample_set = put_back(task_store)

    claim = task_store.claim(Kind.JOB)
    assert claim is not None
    assert claim.ref == job
    assert claim.job.checkpoint == checkpoint(job.job_id, 100, final=True)
    assert claim.job.losses == 1
    assert claim.job.progress is not None
    assert claim.job.progress.losses == {"generator": 1.5}
    assert task_store.finish(claim, Outcome(status=Status.SUCCEEDED)) is Answer.OK

    of_set = task_store.claim(Kind.SET)
    assert of_set is not None
    assert of_set.ref == sample_set
    assert of_set.sample_set is not None
    assert of_set.sample_set.request == SampleSetRequest(n=7)
    outcome = Outcome(status=Status.SUCCEEDED, result=set_result(of_set.prefix))
    assert task_store.finish(of_set, outcome) is Answer.OK


def test_final_records_of_the_first_version_are_restored(
    task_store: TaskStore, objects: FolderStore
) -> None:
    records = written("records.json")
    for key, record in records.items():
        objects.put_bytes(key, json.dumps(record).encode())

    assert rebuild(task_store, objects) == len(records) == 2
    (job,) = task_store.list_jobs().items
    (sample_set,) = task_store.list_sets(job.id)
    assert (job.status, sample_set.status) == (Status.SUCCEEDED, Status.SUCCEEDED)
    assert job.metrics == {"steps": 100}
    for record in (job, sample_set):
        archived = records[record_key(record.ref)]
        now = record.model_dump(mode="json") | {"queue_position": None}
        assert {name: now[name] for name in archived} == archived  # fields may be added


def test_keys_of_the_first_version_are_read() -> None:
    (key,) = ApiKeyFile(FIRST / "api-keys.json").read()
    assert key.name == "lab"


def write_checkpoint(path: Path, **header: Any) -> None:
    """One like the first version's, with zeros for weights."""
    stored = written("checkpoint.json")
    tensors = {
        name: torch.zeros(shape, dtype=getattr(torch, dtype))
        for name, (dtype, shape) in stored["tensors"].items()
    }
    save_file(tensors, path, metadata={HEADER_KEY: json.dumps(stored["header"] | header)})


def test_checkpoints_of_the_first_version_make_samples(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    write_checkpoint(path)

    (pair,) = Sampler(path, "cpu").sample(0, range(1))
    content_h, content_w = pair.image_HWC.shape[:2]
    assert min(content_h, content_w) >= 32
    assert pair.mask_HWK.shape == (content_h, content_w, 2)


def test_newer_checkpoints_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.safetensors"
    write_checkpoint(path, schema_version=SCHEMA_VERSION + 1)

    with pytest.raises(CheckpointError) as refused:
        Sampler(path, "cpu")
    assert "Upgrade" in refused.value.hint


def make_newer(store: TaskStore, ref: TaskRef) -> None:
    store.client.hset(store.keys.record(ref), "schema", str(NEWEST))


def queued(store: TaskStore) -> TaskRef:
    made = store.create_job(new_job()).job
    assert made is not None
    return made.ref


def test_a_newer_task_stays_in_line_for_workers_that_know_it(task_store: TaskStore) -> None:
    newer, later = queued(task_store), queued(task_store)
    make_newer(task_store, newer)

    assert task_store.try_claim(Kind.JOB, newer).answer is Answer.NEWER
    assert task_store.try_claim(Kind.JOB).answer is Answer.NEWER  # not overtaken either
    record = task_store.get(newer)
    assert record is not None
    assert (record.status, record.queue_position) == (Status.QUEUED, 1)
    claim = task_store.claim(Kind.JOB, later)  # for that one somebody rang
    assert claim is not None
    assert claim.ref == later


def test_a_worker_says_that_it_has_to_be_upgraded(
    task_store: TaskStore, objects: FolderStore, settings: Settings, tmp_path: Path
) -> None:
    ref = queued(task_store)
    make_newer(task_store, ref)
    supervisor = Supervisor(
        Workshop(
            settings=settings,
            store=task_store,
            objects=objects,
            child_command=("false",),
            folder=tmp_path,
        )
    )
    supervisor.start()
    with capture_logs() as logs:
        supervisor.run(ref)
    supervisor.stop()
    supervisor.join(5)

    told = [line for line in logs if line["event"] == "task_too_new"]
    assert told
    assert told[0]["task"] == str(ref)
    assert told[0]["known_schema"] == RECORD_SCHEMA
    assert "Upgrade" in told[0]["hint"]
    record = task_store.get(ref)
    assert record is not None
    assert record.status is Status.QUEUED
    assert record.strikes == 0


@pytest.fixture
def newer_store(
    task_store: TaskStore, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> TaskStore:
    """Of a worker and a gateway that are newer by a version."""
    with monkeypatch.context() as patch:
        patch.setattr("jobs.state.scripts.RECORD_SCHEMA", NEWEST)
        return TaskStore(client, task_store.settings)


def schema_of(store: TaskStore, ref: TaskRef) -> int:
    record = store.get(ref)
    assert record is not None
    return record.schema_version


def publish(store: TaskStore, claim: Claim, step: int = 5, *, final: bool = False) -> None:
    made = checkpoint(claim.ref.job_id, step, final=final, token=claim.token)
    assert not store.publish_checkpoint(claim, made, engine=ENGINE).refused


def claimed(store: TaskStore, ref: TaskRef) -> Claim:
    claim = store.claim(ref.kind, ref)
    assert claim is not None
    return claim


def test_a_newer_workers_checkpoint_is_left_to_newer_workers(
    task_store: TaskStore, newer_store: TaskStore
) -> None:
    ref = queued(task_store)
    claim = claimed(newer_store, ref)
    assert schema_of(task_store, ref) == RECORD_SCHEMA  # to claim it is no change to it
    publish(newer_store, claim)
    newer_store.release(claim)

    assert schema_of(task_store, ref) == NEWEST
    assert task_store.try_claim(Kind.JOB, ref).answer is Answer.NEWER
    assert newer_store.try_claim(Kind.JOB, ref).answer is Answer.CLAIMED


def test_newer_sets_are_left_to_newer_workers(
    task_store: TaskStore, newer_store: TaskStore
) -> None:
    of_job = trained_job(task_store, new_job())
    made = newer_store.create_set(of_job.ref.job_id, SampleSetRequest(n=5)).sample_set
    assert made is not None
    assert made.schema_version == NEWEST
    assert task_store.try_claim(Kind.SET, made.ref).answer is Answer.NEWER


def test_a_set_of_a_newer_job_is_left_to_newer_workers(task_store: TaskStore) -> None:
    """Whichever gateway has made it: a worker goes by the job's record too."""
    of_job = trained_job(task_store, new_job())
    before = task_store.create_set(of_job.ref.job_id, SampleSetRequest(n=5)).sample_set
    make_newer(task_store, of_job.ref)
    after = task_store.create_set(of_job.ref.job_id, SampleSetRequest(n=6)).sample_set
    assert before is not None
    assert after is not None
    assert after.schema_version == NEWEST
    for one in (before, after):
        assert task_store.try_claim(Kind.SET, one.ref).answer is Answer.NEWER


def test_a_job_that_carries_a_newer_set_is_left_to_newer_workers(
    task_store: TaskStore, newer_store: TaskStore
) -> None:
    ref = queued(task_store)
    claim = claimed(task_store, ref)
    publish(task_store, claim, final=True)
    carried = newer_store.adopt_first_set(claim)
    assert carried is not None
    assert carried.schema_version == NEWEST
    task_store.release(claim)
    assert schema_of(task_store, ref) == RECORD_SCHEMA
    assert task_store.try_claim(Kind.JOB, ref).answer is Answer.NEWER


def test_who_finishes_a_task_marks_it_and_its_set(
    task_store: TaskStore, newer_store: TaskStore
) -> None:
    ref = queued(task_store)
    claim = claimed(task_store, ref)
    publish(task_store, claim, final=True)
    carried = task_store.adopt_first_set(claim)
    assert carried is not None
    outcome = Outcome(status=Status.SUCCEEDED, result=set_result(claim.prefix))
    assert newer_store.finish(claim, outcome) is Answer.OK
    assert schema_of(task_store, ref) == NEWEST
    assert schema_of(task_store, carried.ref) == NEWEST


def test_what_a_newer_record_names_is_not_tidied_away(
    task_store: TaskStore, objects: FolderStore, queue: Queue
) -> None:
    """An older gateway cancels it: its record and its objects are a newer OnePair's business."""
    ref = queued(task_store)
    claim = claimed(task_store, ref)
    unknown = f"{claim.prefix}what-only-newer-ones-know"
    objects.put_bytes(unknown, b"kept")
    task_store.release(claim)
    make_newer(task_store, ref)
    assert task_store.request_cancel(ref) is Answer.CANCELLED

    keep_end(task_store, objects, ref)
    assert discard_leftovers(task_store, objects, ref, claim.token) == 0
    task_store.client.zadd(task_store.keys.unkept, {str(ref): 1})
    run_round(task_store, objects, queue)
    assert objects.get_bytes(unknown) == b"kept"
    assert objects.head(record_key(ref)) is None
    assert task_store.client.zscore(task_store.keys.unkept, str(ref)) is not None


def test_newer_final_records_are_told_of_and_all_others_restored(
    task_store: TaskStore, objects: FolderStore
) -> None:
    refs = sorted((trained_job(task_store, new_job()).ref for _ in range(3)), key=str)
    for place, ref in enumerate(refs):
        record = task_store.get(ref)
        assert record is not None
        schema = NEWEST if place == 0 else RECORD_SCHEMA  # the first that is read
        archive_record(objects, record.model_copy(update={"schema_version": schema}))
        task_store.client.delete(task_store.keys.record(ref))

    with pytest.raises(RecordTooNew, match=f"2 records were restored; 1 .*{refs[0]}"):
        rebuild(task_store, objects)
    assert [task_store.get(ref) is not None for ref in refs] == [False, True, True]
