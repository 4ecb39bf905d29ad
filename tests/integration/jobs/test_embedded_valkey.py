"""The embedded server: durable, alone on its folder, never an orphan."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest
import redis

from jobs.errors import ValkeyBusy, ValkeyFailed
from jobs.settings import Settings
from jobs.state import TaskStore, connect
from jobs.valkey import EmbeddedValkey
from tests.builders import new_job

ROOT = Path(__file__).parents[3]
PARENT = """
import sys, time
from pathlib import Path
from jobs.valkey import EmbeddedValkey
server = EmbeddedValkey(Path(sys.argv[1])).start()
print(server.pid, flush=True)
time.sleep(60)
"""


def running(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def wait_until_gone(pid: int) -> bool:
    deadline = time.monotonic() + 5
    while running(pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not running(pid)


@pytest.mark.skipif(sys.platform != "linux", reason="PDEATHSIG is Linux's")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_parent_leaves_no_orphan(tmp_path: Path, how: signal.Signals) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert parent.stdout is not None
    with parent.stdout:
        server_pid = int(parent.stdout.readline())
    assert running(server_pid)
    parent.send_signal(how)
    parent.wait()
    assert wait_until_gone(server_pid)
    with EmbeddedValkey(tmp_path) as server:  # the folder is free, the stale socket harmless
        assert server.alive


def test_a_second_server_on_a_folder_is_refused(tmp_path: Path) -> None:
    with EmbeddedValkey(tmp_path) as first:
        with pytest.raises(ValkeyBusy) as caught:
            EmbeddedValkey(tmp_path).start()
        assert caught.value.code == "data_dir_in_use"
        assert "--data-dir" in caught.value.hint
        assert first.alive
        with connect(first.url) as client:
            client.ping()
    with EmbeddedValkey(tmp_path) as again:
        assert again.alive


def test_the_server_holds_the_lock_itself(tmp_path: Path) -> None:
    """Should the server ever outlive its parent, the folder stays refused."""
    server = EmbeddedValkey(tmp_path).start()
    try:
        assert server._lock is not None
        os.close(server._lock)
        server._lock = None
        with pytest.raises(ValkeyBusy):
            EmbeddedValkey(tmp_path).start()
    finally:
        server.stop()


def test_nothing_answered_is_lost_by_kill_9(tmp_path: Path, settings: Settings) -> None:
    server = EmbeddedValkey(tmp_path).start()
    try:
        with connect(server.url) as client:
            store = TaskStore(client, settings)
            made = [store.create_job(new_job()).job for _ in range(20)]
            assert server.pid is not None
            os.kill(server.pid, signal.SIGKILL)
            deadline = time.monotonic() + 5
            while server.alive and time.monotonic() < deadline:
                time.sleep(0.01)
            assert not server.alive
            server.start()
            assert {job.id for job in store.list_jobs().items} == {job.id for job in made if job}
    finally:
        server.stop()


def test_its_settings(valkey: EmbeddedValkey, client: redis.Redis) -> None:
    config = client.config_get()
    assert isinstance(config, dict)
    expected = {
        "appendonly": "yes",
        "appendfsync": "always",
        "maxmemory-policy": "noeviction",
        "maxmemory": str(256 * 2**20),
        "port": "0",
        "unixsocketperm": "700",
    }
    assert {name: config[name] for name in expected} == expected
    assert valkey.celery_url == f"redis+socket://{valkey.socket_path}?virtual_host=0"


def test_a_long_path_gets_a_short_socket(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 120)
    with EmbeddedValkey(deep) as server:
        assert len(os.fsencode(server.socket_path)) <= 100
        assert server.socket_path.parent.stat().st_mode & 0o777 == 0o700
        with connect(server.url) as client:
            client.ping()
    assert not server.socket_path.exists()
    server.socket_path.parent.rmdir()


def test_a_shared_socket_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    deep = tmp_path / ("d" * 120)
    folder = EmbeddedValkey(deep).socket_path.parent
    folder.chmod(0o777)
    with pytest.raises(ValkeyFailed, match="private"):
        EmbeddedValkey(deep)


def test_only_the_main_thread_may_start_it(tmp_path: Path) -> None:
    errors: list[ValkeyFailed] = []

    def start() -> None:
        try:
            EmbeddedValkey(tmp_path).start()
        except ValkeyFailed as error:
            errors.append(error)

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    assert "main thread" in str(errors[0])


def test_a_server_that_can_not_start_says_why(tmp_path: Path) -> None:
    with pytest.raises(ValkeyFailed, match="memory value"):
        EmbeddedValkey(tmp_path, maxmemory="lots").start()
    with EmbeddedValkey(tmp_path) as server:  # the lock was given back
        assert server.alive
