"""Attempts with a real child process, a real Valkey and a real object store."""

from __future__ import annotations

import errno
import hashlib
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from jobs.errors import StoreAway
from jobs.keys import record_key
from jobs.objects import FolderStore, ObjectInfo
from jobs.objects.s3 import S3Store
from jobs.record import Job, SampleSet, SampleSetRequest, Status, TaskRef
from jobs.settings import Settings
from tests.faulty_s3 import FaultyS3
from tests.servers import SeaweedFS
from worker.child_process import child_environment

Run = Callable[[str], Job]


def test_a_job_trains_and_its_first_set_is_ready_with_it(bench, run: Run) -> None:
    job = run(bench.post(checkpoint_every=10))

    assert job.status is Status.SUCCEEDED
    assert job.trained
    assert job.checkpoint is not None
    assert (job.checkpoint.step, job.checkpoint.final) == (30, True)
    stored = bench.objects.get_bytes(job.checkpoint.key)
    assert hashlib.sha256(stored).hexdigest() == job.checkpoint.sha256
    assert job.metrics == {"steps": 30, "made": 4}
    assert job.preview_key is not None
    assert bench.objects.get_bytes(job.preview_key) == b"png"
    made = bench.store.get_set(job.id, job.first_set_id)
    assert made.status is Status.SUCCEEDED
    assert bench.objects.get_bytes(made.result.archive_key) == b"archive of 30"
    assert bench.log() == ["train from 0", "sample from 30"]
    phases = [e.data["phase"] for e in bench.store.events(job.ref) if e.type == "phase"]
    stages = ["preparing", "training", "generating", "refining", "scoring", "packing"]
    assert [p for p in stages if p in phases] == phases  # in order; quick ones may be skipped
    assert not list((bench.folder / "work").iterdir())


def test_terminal_records_are_kept_in_the_object_store(bench, run: Run) -> None:
    job = run(bench.post())

    kept = Job.model_validate_json(bench.objects.get_bytes(record_key(job.ref)))
    assert kept.status is Status.SUCCEEDED
    set_ref = TaskRef(job.id, job.first_set_id)
    kept_set = SampleSet.model_validate_json(bench.objects.get_bytes(record_key(set_ref)))
    assert kept_set.result is not None


def test_a_job_that_wants_no_set_makes_none(bench, run: Run) -> None:
    job = run(bench.post(n=None))

    assert job.status is Status.SUCCEEDED
    assert bench.log() == ["train from 0"]


def test_a_further_set_is_made_from_the_jobs_checkpoint(bench, run: Run) -> None:
    job = run(bench.post())
    created = bench.store.create_set(job.id, SampleSetRequest(n=7, seed=3)).sample_set
    supervisor = bench.supervisor()
    supervisor.run(created.ref)
    supervisor.stop()

    made = bench.store.get_set(job.id, created.id)
    assert made.status is Status.SUCCEEDED
    assert made.result.generated == 7
    assert bench.log()[-1] == "sample from 30"


def test_after_a_crash_training_goes_on_from_the_last_checkpoint(bench, run: Run) -> None:
    job = run(bench.post(trouble=bench.trouble("segfault"), trouble_at=25, step_seconds=0.05))

    assert job.status is Status.SUCCEEDED
    assert bench.log() == ["train from 0", "train from 20", "sample from 30"]


def test_three_crashes_without_progress_fail_the_job_and_keep_the_log(bench, run: Run) -> None:
    job = run(bench.post(trouble=bench.trouble("crash"), trouble_at=5, once=False))

    assert job.status is Status.FAILED
    assert job.failure.code == "worker_crashed"
    assert b"a traceback" in bench.objects.get_bytes(job.failure.log_key)
    assert bench.log() == ["train from 0"] * 3


def test_wrong_input_fails_at_once_with_its_code_and_hint(bench, run: Run) -> None:
    job = run(bench.post(trouble=bench.trouble("single_class"), trouble_at=5, once=False))

    assert (job.failure.code, job.failure.hint) == ("single_class", "ask less")
    assert bench.log() == ["train from 0"]
    assert job.strikes == 0


def test_what_the_training_warns_of_is_on_the_job_once(bench, run: Run) -> None:
    """A resumed training says again what has happened to it."""
    trouble = {"trouble": bench.trouble("segfault"), "trouble_at": 25, "step_seconds": 0.05}
    job = run(bench.post(warn="rolled_back", **trouble))

    assert bench.log()[:2] == ["train from 0", "train from 20"]
    assert [w.code for w in job.warnings] == ["rolled_back"]


def test_what_the_training_warns_of_at_its_very_end_is_on_the_job(bench, run: Run) -> None:
    """Also when nothing comes after it that would beat."""
    job = run(bench.post(n=None, warn_last="undertrained"))

    assert job.status is Status.SUCCEEDED
    assert [w.code for w in job.warnings] == ["undertrained"]


def test_out_of_memory_once_goes_on_smaller_and_says_so(bench, run: Run) -> None:
    job = run(bench.post(trouble=bench.trouble("memory"), trouble_at=25, step_seconds=0.05))

    assert job.status is Status.SUCCEEDED
    assert [w.code for w in job.warnings] == ["less_memory"]
    assert bench.log()[1] == "train from 20 smaller"


def test_out_of_memory_twice_fails_with_a_hint(bench, run: Run) -> None:
    job = run(bench.post(trouble=bench.trouble("memory"), trouble_at=5, once=False))

    assert job.failure.code == "out_of_memory"
    assert "max_size" in job.failure.hint
    assert bench.log() == ["train from 0", "train from 0 smaller"]


@pytest.fixture
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.supervisor.FIRST_PAUSE_SECONDS", 0.02)


@pytest.mark.usefixtures("short_pauses")
def test_a_disk_that_is_full_for_a_while_costs_a_retry(bench, run: Run) -> None:
    job = run(bench.post(trouble=bench.trouble("disk_full"), trouble_at=25, step_seconds=0.05))

    assert job.status is Status.SUCCEEDED
    assert bench.log()[1] == "train from 20"


@pytest.mark.usefixtures("short_pauses")
def test_a_disk_that_stays_full_fails_the_job_with_a_hint(bench, run: Run) -> None:
    job = run(bench.post(trouble=bench.trouble("disk_full"), trouble_at=5, once=False))

    assert job.failure.code == "disk_full"
    assert bench.log() == ["train from 0"] * 3


@pytest.mark.usefixtures("short_pauses")
def test_the_supervisors_own_disk_is_full(bench, run: Run, monkeypatch) -> None:
    """It can't even make the attempt's folder."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("worker.attempt.Attempt.run", refuse)
    job = run(bench.post())

    assert job.failure.code == "disk_full"
    assert "ONEPAIR_DATA_DIR" in job.failure.hint


def test_a_worker_with_a_full_disk_leaves_the_line_to_others(
    bench, wait_until, in_background, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without its pauses it would fail all jobs before another has done the first."""

    class NoRoom(FolderStore):
        def get_file(self, key: str, path: Path) -> ObjectInfo:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("worker.supervisor.LEAST_FREE_BYTES", 2**62)
    broken, whole = bench.supervisor(NoRoom(bench.objects.root)), bench.supervisor()
    jobs = [bench.post(n=None, steps=3) for _ in range(5)]
    in_background(broken.run, TaskRef(jobs[0]))
    wait_until(lambda: bench.job(jobs[0]).strikes >= 1)
    deadline = time.monotonic() + 30
    while not all(bench.job(job_id).status.terminal for job_id in jobs):
        assert time.monotonic() < deadline
        for job_id in jobs:
            whole.run(TaskRef(job_id))
    for supervisor in (broken, whole):
        supervisor.stop()
    assert [bench.job(job_id).status for job_id in jobs] == [Status.SUCCEEDED] * 5


def test_a_task_that_is_too_large_for_the_disk_does_not_stop_its_worker(bench, run: Run) -> None:
    """There is room again when it has gone: no pause, which would take longer than this waits."""
    large = bench.post(trouble=bench.trouble("disk_full"), trouble_at=5, once=False)
    assert run(large).failure.code == "disk_full"
    began = time.monotonic()
    assert run(bench.post(n=None, steps=3)).status is Status.SUCCEEDED
    assert time.monotonic() - began < 10


def test_a_child_is_given_no_secret(
    bench, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("VALKEY_URL", "S3_SECRET_KEY", "WEBHOOK_SECRET", "NAMESPACE", "API_KEY"):
        monkeypatch.setenv(f"ONEPAIR_{name}", "told")
    monkeypatch.setenv("onepair_s3_access_key", "told")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "told")
    told = [name for name, value in child_environment(settings.data_dir).items() if value == "told"]
    assert told == ["ONEPAIR_NAMESPACE"]


def test_a_killed_child_costs_a_retry_not_the_job(bench, run: Run) -> None:
    job = run(bench.post(trouble=bench.trouble("die"), trouble_at=25, step_seconds=0.05))

    assert job.status is Status.SUCCEEDED
    assert bench.log()[1].startswith("train from 20")


def test_a_hung_child_is_killed_and_tried_again(bench, settings: Settings, run: Run) -> None:
    object.__setattr__(settings, "hang_min_seconds", 1.0)
    job = run(bench.post(trouble=bench.trouble("hang"), trouble_at=25, step_seconds=0.02))

    assert job.status is Status.SUCCEEDED
    assert bench.log()[:2] == ["train from 0", "train from 20"]


class AwayForAWhile(FolderStore):
    """A store that can't be reached for some time, as S3 can't."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.back_at = time.monotonic() + 5.0

    def put_file(
        self, key: str, path: Path, *, content_type: str = "application/octet-stream"
    ) -> ObjectInfo:
        if time.monotonic() < self.back_at:
            raise StoreAway("no route to the store")
        return super().put_file(key, path, content_type=content_type)


def test_a_store_away_longer_than_the_lease_costs_neither_lease_nor_job(bench) -> None:
    job_id = bench.post()
    supervisor = bench.supervisor(AwayForAWhile(bench.settings.data_dir / "objects"))
    supervisor.run(TaskRef(job_id))
    supervisor.stop()

    job = bench.job(job_id)
    assert job.status is Status.SUCCEEDED
    assert (job.strikes, job.losses) == (0, 0)
    assert bench.log() == ["train from 0", "sample from 30"]


def test_a_store_on_a_bad_day_costs_no_job(bench, settings: Settings, seaweed: SeaweedFS) -> None:
    """A quarter of all requests is refused, slow, unanswered or cut off."""
    with FaultyS3(seaweed.endpoint_url, share=0.25) as faulty:
        objects = S3Store.from_settings(seaweed.settings(s3_endpoint_url=faulty.endpoint_url))
        bench.objects = S3Store.from_settings(seaweed.settings())
        jobs = [bench.post() for _ in range(5)]
        supervisor = bench.supervisor(objects)
        deadline = time.monotonic() + 120
        while not all(bench.job(job_id).status.terminal for job_id in jobs):
            assert time.monotonic() < deadline, [bench.job(job_id) for job_id in jobs]
            supervisor.run(TaskRef(jobs[0]))
            time.sleep(0.05)
        supervisor.stop()
        supervisor.join(20)

    assert sum(count for fault, count in faulty.done.items() if fault != "none") > 10
    for job_id in jobs:
        job = bench.job(job_id)
        assert (job.status, job.strikes, job.losses) == (Status.SUCCEEDED, 0, 0), job
        made = bench.store.get_set(job_id, job.first_set_id)
        archive = bench.objects.get_bytes(made.result.archive_key)
        assert hashlib.sha256(archive).hexdigest() == made.result.sha256
        assert bench.objects.head(job.checkpoint.key) is not None
