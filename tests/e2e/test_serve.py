"""Starting, refusing, restarting and stopping a service; no training."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from tests.customer import wait_until
from tests.e2e.conftest import Served, descendants, onepair, processes


def test_a_second_service_on_the_same_data_folder_is_refused(shared: Served) -> None:
    second = onepair("serve", "--data-dir", str(shared.data_dir), "--port", "0")

    assert second.returncode == 1
    assert "already runs" in second.stderr
    assert shared.url in second.stderr
    assert shared.request("GET", "/readyz").is_success


def test_sigterm_stops_everything_together(tmp_path: Path, served: Served) -> None:
    parts = descendants(served.process.pid)
    assert len(parts) >= 4  # Valkey, two workers, gateway

    served.process.send_signal(signal.SIGTERM)

    assert served.process.wait(60) == 0
    assert not set(parts) & set(processes())


def test_no_orphans_after_the_service_is_killed(served: Served) -> None:
    parts = descendants(served.process.pid)
    assert len(parts) >= 4

    os.kill(served.process.pid, signal.SIGKILL)
    served.process.wait()

    wait_until(lambda: not set(parts) & set(processes()), 10)


def test_a_part_that_dies_is_started_again(shared: Served) -> None:
    killed = shared.part("-m worker sets")

    os.kill(killed, signal.SIGKILL)

    def came_back() -> bool:
        workers = [p for p, line in descendants(shared.process.pid).items() if "sets" in line]
        return len(workers) == 1 and workers[0] != killed

    wait_until(came_back, 20)
    log = (shared.data_dir.parent / "serve.log").read_text()
    assert "worker-sets was killed by SIGKILL; starting it again" in log


def test_wrong_input_is_told_with_its_hint_and_exit_code_2(shared: Served, tmp_path: Path) -> None:
    text = tmp_path / "image.png"
    text.write_text("no image")
    refused = onepair("run", str(text), str(text), "-o", str(tmp_path / "out"), "--url", shared.url)

    assert refused.returncode == 2
    assert "error:" in refused.stderr
    assert "hint:" in refused.stderr
    assert not (tmp_path / "out").exists()


def test_a_service_that_is_not_there_is_exit_code_1(tmp_path: Path) -> None:
    image = tmp_path / "image.png"
    image.write_bytes(b"x")
    failed = onepair(
        "run", str(image), str(image), "-o", str(tmp_path), "--url", "http://127.0.0.1:1"
    )

    assert failed.returncode == 1
    assert "onepair serve" in failed.stderr
