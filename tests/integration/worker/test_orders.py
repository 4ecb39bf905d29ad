"""Cancel, finish, shutdown, and claims that were lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from jobs.objects import FolderStore, ObjectInfo
from jobs.objects.base import OCTETS
from jobs.record import Kind, Phase, SampleSetRequest, Status, TaskRef

SLOW = {"steps": 2_000, "step_seconds": 0.02, "spawn": True}


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def start(bench, supervisor, in_background, wait_until, **script) -> tuple[str, int]:
    """A slow job in training with a published checkpoint; its id and its child's process id."""
    pid_file = bench.folder / "child.pid"
    job_id = bench.post(**{**SLOW, "pid_file": str(pid_file), **script})
    in_background(supervisor.run, TaskRef(job_id))
    wait_until(lambda: bench.job(job_id).checkpoint is not None)
    return job_id, int(pid_file.read_text())


def test_cancel_ends_child_and_job(bench, in_background, wait_until) -> None:
    supervisor = bench.supervisor()
    job_id, pid = start(bench, supervisor, in_background, wait_until)

    bench.store.request_cancel(TaskRef(job_id))

    wait_until(lambda: bench.job(job_id).status is Status.CANCELLED, 20)
    wait_until(lambda: not is_running(pid), 10)
    supervisor.stop()


def test_finish_keeps_what_is_learned_and_goes_on_with_the_set(
    bench, in_background, wait_until
) -> None:
    supervisor = bench.supervisor()
    job_id, _ = start(bench, supervisor, in_background, wait_until)

    bench.store.request_finish(job_id)

    wait_until(lambda: bench.job(job_id).status is Status.SUCCEEDED, 10)
    job = bench.job(job_id)
    assert 0 < job.checkpoint.step < SLOW["steps"]
    assert bench.log()[-1] == f"sample from {job.checkpoint.step}"
    supervisor.stop()


def test_shutdown_checkpoints_and_releases_and_another_worker_goes_on(
    bench, in_background, wait_until
) -> None:
    supervisor = bench.supervisor()
    job_id, pid = start(bench, supervisor, in_background, wait_until, steps=200)

    supervisor.stop()
    supervisor.join(5)

    assert not supervisor.is_alive
    assert not is_running(pid)
    job = bench.job(job_id)
    assert job.status is Status.QUEUED
    reached = job.checkpoint.step
    other = bench.supervisor()
    wait_until(lambda: other.run(TaskRef(job_id)) or bench.job(job_id).status.terminal)
    assert bench.job(job_id).status is Status.SUCCEEDED
    assert bench.log()[1] == f"train from {reached}"
    other.stop()


class SlowFolder(FolderStore):
    """Takes its time for every file."""

    def get_file(self, key: str, path: Path) -> ObjectInfo:
        time.sleep(0.7)
        return super().get_file(key, path)

    def put_file(self, key: str, path: Path, *, content_type: str = OCTETS) -> ObjectInfo:
        time.sleep(0.7)
        return super().put_file(key, path, content_type=content_type)


@pytest.mark.parametrize(
    "phase", [phase for phase in Phase if phase is not Phase.TRAINING], ids=str
)
def test_shutdown_in_any_phase_releases_the_job_and_another_worker_ends_it(
    phase: Phase, bench, in_background, wait_until
) -> None:
    slow = SlowFolder(bench.objects.root)
    supervisor = bench.supervisor(slow)
    job_id = bench.post(steps=20, phase_seconds=0.7)
    in_background(supervisor.run, TaskRef(job_id))
    wait_until(lambda: bench.job(job_id).phase is phase)

    supervisor.stop()
    supervisor.join(10)

    assert not supervisor.is_alive
    job = bench.job(job_id)
    assert job.status is Status.QUEUED, job
    assert (job.strikes, job.losses) == (0, 1)
    other = bench.supervisor()
    wait_until(lambda: other.run(TaskRef(job_id)) or bench.job(job_id).status.terminal)
    assert bench.job(job_id).status is Status.SUCCEEDED
    trained = [line for line in bench.log() if line.startswith("train")]
    assert len(trained) == 1
    other.stop()


def test_a_set_that_is_being_made_is_released_too(bench, in_background, wait_until) -> None:
    job_id = bench.post(n=None, steps=5, phase_seconds=0.7)
    first = bench.supervisor()
    first.run(TaskRef(job_id))
    made = bench.store.create_set(job_id, SampleSetRequest(n=4)).sample_set
    in_background(first.run, made.ref)
    wait_until(lambda: bench.store.get(made.ref).phase is Phase.REFINING)

    first.stop()
    first.join(10)

    assert bench.store.get(made.ref).status is Status.QUEUED
    second = bench.supervisor()
    wait_until(lambda: second.run(made.ref) or bench.store.get(made.ref).status.terminal)
    assert bench.store.get(made.ref).status is Status.SUCCEEDED
    second.stop()


def test_a_child_that_does_not_stop_is_killed_and_its_job_released_without_a_strike(
    bench, in_background, wait_until
) -> None:
    supervisor = bench.supervisor(stop_seconds=0.5)
    trouble = bench.trouble("hang")
    job_id, pid = start(
        bench, supervisor, in_background, wait_until, trouble=trouble, trouble_at=15
    )
    wait_until(lambda: not Path(trouble).exists())

    supervisor.stop()
    supervisor.join(10)

    assert not supervisor.is_alive
    assert not is_running(pid)
    job = bench.job(job_id)
    assert job.status is Status.QUEUED
    assert (job.strikes, job.losses) == (0, 1)


def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(
    bench, in_background, wait_until
) -> None:
    supervisor = bench.supervisor()
    job_id, _ = start(bench, supervisor, in_background, wait_until, steps=100)
    wait_until(lambda: bench.job(job_id).previous_checkpoint is not None)
    supervisor.stop()
    supervisor.join(5)
    job = bench.job(job_id)
    newest = bench.settings.data_dir / "objects" / job.checkpoint.key
    newest.chmod(0o644)
    newest.write_bytes(b"rotten")

    other = bench.supervisor()
    wait_until(lambda: other.run(TaskRef(job_id)) or bench.job(job_id).status.terminal)

    ended = bench.job(job_id)
    assert ended.status is Status.SUCCEEDED
    assert bench.log()[1] == f"train from {job.previous_checkpoint.step}"
    assert "checkpoint_damaged" in [w.code for w in ended.warnings]
    other.stop()


def test_a_refused_beat_kills_the_child_and_publishes_nothing_more(
    bench, in_background, wait_until
) -> None:
    supervisor = bench.supervisor()
    job_id, pid = start(bench, supervisor, in_background, wait_until)

    bench.store.delete(TaskRef(job_id))

    wait_until(lambda: not is_running(pid), 5)
    supervisor.stop()
    supervisor.join(5)
    prefix = f"jobs/{job_id}/a"
    left = [info.key for info in bench.objects.list(f"jobs/{job_id}/") if prefix in info.key]
    assert left == []


def test_who_wakes_up_without_the_lease_leaves_its_checkpoints_to_the_next(
    bench, in_background, wait_until
) -> None:
    supervisor = bench.supervisor()
    job_id, pid = start(bench, supervisor, in_background, wait_until)

    # the lease is over and another has claimed, in one step: a beat between would renew it
    ref, claims = TaskRef(job_id), []
    while not claims:
        bench.store.client.zadd(bench.store.keys.leases, {str(ref): 1}, xx=True)
        claims += filter(None, [bench.store.claim(Kind.JOB, ref)])

    wait_until(lambda: not is_running(pid), 5)
    supervisor.stop()
    supervisor.join(5)
    job = bench.job(job_id)
    assert job.token == claims[0].token
    for named in (job.checkpoint, job.previous_checkpoint):
        assert named is None or bench.objects.head(named.key) is not None
    prefix = f"jobs/{job_id}/a"
    left = {info.key for info in bench.objects.list(f"jobs/{job_id}/") if prefix in info.key}
    kept = (job.checkpoint, job.previous_checkpoint)
    assert left <= {*(one.key for one in kept if one), job.preview_key}


def test_a_duplicate_ring_finds_the_task_held(bench, in_background, wait_until) -> None:
    supervisor, other = bench.supervisor(), bench.supervisor()
    job_id, _ = start(bench, supervisor, in_background, wait_until)

    other.run(TaskRef(job_id))

    assert bench.log() == ["train from 0"]
    supervisor.stop()
    supervisor.join(5)
    other.stop()


def test_after_a_job_the_head_of_the_queue_is_next_without_a_ring(bench, wait_until) -> None:
    first, second = bench.post(n=None), bench.post(n=None)
    supervisor = bench.supervisor()

    supervisor.run(TaskRef(first))

    assert bench.job(second).status is Status.SUCCEEDED
    supervisor.stop()


def test_a_killed_supervisor_takes_its_child_along_and_the_lease_brings_the_job_back(
    bench, in_background, wait_until
) -> None:
    pid_file = bench.folder / "child.pid"
    script = {**SLOW, "steps": 150, "pid_file": str(pid_file)}
    job_id = bench.post(**script)
    program = textwrap.dedent(
        f"""
        import sys
        from pathlib import Path
        sys.path.insert(0, {str(Path.cwd())!r})
        from jobs.objects import FolderStore
        from jobs.record import TaskRef
        from jobs.settings import Settings
        from jobs.state import TaskStore, connect
        from worker.workshop import Workshop
        from worker.supervisor import Supervisor
        settings = Settings.model_validate_json(sys.stdin.read())
        shop = Workshop(
            settings=settings,
            store=TaskStore(connect(sys.argv[1]), settings),
            objects=FolderStore(settings.data_dir / "objects"),
            child_command=({sys.executable!r}, sys.argv[2]),
            folder=Path(sys.argv[3]),
        )
        supervisor = Supervisor(shop)
        supervisor.start()
        supervisor.run(TaskRef({job_id!r}))
        """
    )
    child = str(Path(__file__).with_name("scripted_child.py"))
    url = bench.settings.valkey_url.get_secret_value()
    command = [sys.executable, "-c", program, url, child, str(bench.folder / "other")]
    values = bench.settings.model_dump(mode="json", exclude={"valkey_url"})
    with subprocess.Popen(command, stdin=subprocess.PIPE, text=True) as worker:
        worker.stdin.write(json.dumps(values))
        worker.stdin.close()
        wait_until(lambda: bench.job(job_id).checkpoint is not None)
        child_pid = int(pid_file.read_text())
        os.kill(worker.pid, signal.SIGKILL)
    wait_until(lambda: not is_running(child_pid), 10)
    reached = bench.job(job_id).checkpoint.step

    supervisor = bench.supervisor()
    began = time.monotonic()
    while not bench.job(job_id).status.terminal:
        assert time.monotonic() - began < 120
        bench.store.reap()
        supervisor.run(TaskRef(job_id))
        time.sleep(0.1)

    assert bench.job(job_id).status is Status.SUCCEEDED
    assert bench.log()[1] == f"train from {reached}"
    assert bench.store.claim(Kind.JOB) is None
    supervisor.stop()
