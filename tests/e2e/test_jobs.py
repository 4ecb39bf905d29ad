"""Real trainings through a real service, with everything that may happen on the way."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import zipfile
from pathlib import Path

import pytest

from tests.e2e.conftest import COINS, ROOT, Served, command, environment, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
LONG = {"iterations": "2000"}


def archive_of(served: Served, job_id: str, tmp_path: Path) -> zipfile.ZipFile:
    answer = served.request("GET", f"/jobs/{job_id}/samples").json()
    assert (answer["generated"], answer["kept"]) == (100, 85)
    path = tmp_path / "set.zip"
    path.write_bytes(served.request("GET", answer["download"]["url"]).content)
    return zipfile.ZipFile(path)


def check_archive(archive: zipfile.ZipFile) -> None:
    with archive:
        assert archive.testzip() is None
        names = archive.namelist()
        assert len([n for n in names if n.startswith("images/")]) == 85
        assert len([n for n in names if n.startswith("masks/")]) == 85
        assert {"manifest.json", "metadata.jsonl", "rejected.jsonl", "preview.jpg"} <= set(names)


def test_the_command_line_makes_a_training_set(tmp_path: Path) -> None:
    out = tmp_path / "out"
    ran = subprocess.run(
        command(
            *("run", str(COINS / "image.png"), str(COINS / "mask.png"), "-o", str(out)),
            *("--preset", "paper", "--iterations", "30", "--max-size", "64"),
            *("--output-size", "train", "--data-dir", str(tmp_path / "data")),
        ),
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )

    assert ran.returncode == 0, ran.stderr
    archive, sheet = ran.stdout.splitlines()[-2:]
    assert Path(archive) == out / "onepair.zip"
    assert Path(sheet) == out / "preview.jpg"
    assert len(list((out / "images").iterdir())) == 85
    check_archive(zipfile.ZipFile(archive))


@pytest.mark.parametrize("victim", ["worker", "child"])
def test_after_a_kill_in_the_middle_the_job_goes_on_from_its_checkpoint(
    served: Served, tmp_path: Path, victim: str
) -> None:
    job_id = served.post(iterations="120")
    served.wait_for(job_id, step=40)
    child = served.part("worker.child")
    pid = child if victim == "child" else served.part("worker", "jobs")

    os.kill(pid, signal.SIGKILL)

    wait_until(lambda: not Path(f"/proc/{child}").exists(), 10)
    job = served.wait_for_end(job_id)
    assert job["status"] == "succeeded", job
    steps = served.training_steps(job_id)
    falls = [after for before, after in itertools.pairwise(steps) if after < before]
    assert len(falls) <= 1
    assert all(step > 5 for step in falls)  # it went on from a checkpoint, not from the start
    assert steps[-1] > 40
    check_archive(archive_of(served, job_id, tmp_path))


def test_cancel_ends_a_training(served: Served) -> None:
    job_id = served.post(**LONG)
    served.wait_for(job_id)
    child = served.part("worker.child")

    served.request("POST", f"/jobs/{job_id}/cancel")

    assert served.wait_for_end(job_id, 20)["status"] == "cancelled"
    wait_until(lambda: not Path(f"/proc/{child}").exists(), 10)


def test_finish_keeps_what_is_learned(served: Served, tmp_path: Path) -> None:
    job_id = served.post(**LONG)
    served.wait_for(job_id, step=20)
    preview = served.request("GET", f"/jobs/{job_id}/preview")
    assert preview.headers["content-type"] == "image/png"

    served.request("POST", f"/jobs/{job_id}/finish")

    assert served.wait_for_end(job_id)["status"] == "succeeded"
    check_archive(archive_of(served, job_id, tmp_path))


def test_a_set_does_not_wait_behind_a_training(served: Served) -> None:
    trained = served.post()
    assert served.wait_for_end(trained)["status"] == "succeeded"
    training = served.post(**LONG)
    served.wait_for(training)

    def ready() -> bool:
        wanted = {"n": 4, "seed": 7}
        answer = served.request("GET", f"/jobs/{trained}/samples", params=wanted)
        return answer.status_code == 200

    wait_until(ready, 120)
    assert served.job(training)["status"] == "running"
    served.request("POST", f"/jobs/{training}/cancel")
    served.wait_for_end(training, 30)
