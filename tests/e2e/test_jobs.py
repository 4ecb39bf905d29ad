"""Real trainings through a real service, with everything that may happen on the way."""

from __future__ import annotations

import itertools
import os
import signal
import zipfile
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from tests.customer import COINS, checkpoints, wait_until
from tests.e2e.conftest import Served, onepair

pytestmark = pytest.mark.timeout(400)
LONG = {"iterations": "5000"}
STAGES = ["preparing", "training", "generating", "refining", "scoring", "packing"]
TYPICAL_SILENCE_SECONDS = 1.3
LONGEST_SILENCE_SECONDS = 15.0
"""Of progress that comes every second; the machine may have other work now and then."""


@dataclass
class Made:
    """What ``onepair run`` has made."""

    job_id: str
    folder: Path
    lines: list[str]


@pytest.fixture(scope="module")
def made(shared: Served, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """The coins' training set, trained by the command line through the shared service."""
    out = tmp_path_factory.mktemp("run") / "out"
    ran = onepair(
        *("run", str(COINS / "image.png"), str(COINS / "mask.png"), "-o", str(out)),
        *("--preset", "paper", "--iterations", "30", "--max-size", "64"),
        *("--output-size", "train", "--url", shared.url),
        timeout=300,
    )
    assert ran.returncode == 0, ran.stderr
    lines = ran.stdout.splitlines()
    job_id = next(line.split()[1] for line in lines if line.startswith("job "))
    return Made(job_id, out, lines)


def archive_of(
    served: Served, job_id: str, path: Path, *, n: int = 100, kept: int = 85
) -> zipfile.ZipFile:
    """The job's own set, as the service delivers it."""
    answer = served.request("GET", f"/jobs/{job_id}/samples", params={"n": n}).json()
    assert (answer["generated"], answer["kept"]) == (n, kept)
    content = served.request("GET", answer["download"]["url"]).content
    assert sha256(content).hexdigest() == answer["download"]["sha256"]
    path.write_bytes(content)
    return zipfile.ZipFile(path)


def check_archive(archive: zipfile.ZipFile, kept: int = 85) -> None:
    with archive:
        assert archive.testzip() is None
        names = archive.namelist()
        assert len([n for n in names if n.startswith("images/")]) == kept
        assert len([n for n in names if n.startswith("masks/")]) == kept
        assert {"manifest.json", "metadata.jsonl", "rejected.jsonl", "preview.jpg"} <= set(names)


def milliseconds(event: dict[str, Any]) -> int:
    """When an event happened: its id begins with the server's time."""
    return int(event["id"].split("-")[0])


def test_the_command_line_makes_a_training_set(made: Made) -> None:
    archive, sheet = made.lines[-2:]

    assert Path(archive) == made.folder / "onepair.zip"
    assert Path(sheet) == made.folder / "preview.jpg"
    assert sheet.endswith(".jpg")
    assert Path(sheet).stat().st_size > 0
    assert len(list((made.folder / "images").iterdir())) == 85
    check_archive(zipfile.ZipFile(archive))


def test_the_service_delivers_the_same_set(shared: Served, made: Made, tmp_path: Path) -> None:
    with archive_of(shared, made.job_id, tmp_path / "set.zip"):
        delivered = (tmp_path / "set.zip").read_bytes()

    assert delivered == (made.folder / "onepair.zip").read_bytes()


def test_a_job_tells_its_stages_in_order_with_progress_every_second(
    shared: Served, made: Made
) -> None:
    events = shared.events(made.job_id)
    job = shared.job(made.job_id)

    assert [e["data"]["phase"] for e in events if e["type"] == "phase"] == STAGES
    told = [e for e in events if e["type"] == "progress"]
    assert {e["data"]["phase"] for e in told} == set(STAGES)
    times = [milliseconds(e) for e in told]
    silences = [(after - before) / 1000 for before, after in itertools.pairwise(times)]
    assert median(silences) < TYPICAL_SILENCE_SECONDS
    assert max(silences) < LONGEST_SILENCE_SECONDS
    steps = [e["data"]["progress"]["step"] for e in told if e["data"]["phase"] == "training"]
    assert steps == sorted(steps)
    assert steps[-1] == 30
    assert job["status"] == "succeeded"
    assert job["metrics"]["training_steps"] == 30
    assert 0 <= job["metrics"]["novel_share"] <= 1


def test_a_contact_sheet_appears_while_a_job_learns(shared: Served, made: Made) -> None:
    events = shared.events(made.job_id)
    phase = ""
    sheets_by_phase: dict[str, int] = {}
    for event in events:
        phase = event["data"]["phase"] if event["type"] == "phase" else phase
        if event["type"] == "preview":
            sheets_by_phase[phase] = sheets_by_phase.get(phase, 0) + 1
    preview = shared.request("GET", f"/jobs/{made.job_id}/preview")

    assert sheets_by_phase["training"] >= 2
    assert preview.headers["content-type"] == "image/png"
    assert preview.content.startswith(b"\x89PNG")


@pytest.mark.parametrize("victim", ["worker", pytest.param("child", marks=pytest.mark.slow)])
def test_after_a_kill_in_the_middle_the_job_goes_on_from_its_checkpoint(
    shared: Served, tmp_path: Path, victim: str
) -> None:
    job_id = shared.post(max_size="32", iterations="300", n="20")
    # further than what a training from the beginning would have reached by its first report
    shared.wait_for_checkpoint(job_id, step=40)
    child = shared.part("-m worker.child")
    pid = child if victim == "child" else shared.part("-m worker jobs")

    os.kill(pid, signal.SIGKILL)

    wait_until(lambda: not Path(f"/proc/{child}").exists(), 10)
    job = shared.wait_for_end(job_id)
    assert job["status"] == "succeeded", job
    events = shared.events(job_id)
    starts = [i for i, e in enumerate(events) if e["data"].get("status") == "running"]
    assert len(starts) == 2
    before, after = events[: starts[1]], events[starts[1] :]
    steps = [
        e["data"]["progress"]["step"]
        for e in after
        if e["type"] == "progress" and e["data"]["phase"] == "training"
    ]
    assert steps[0] >= checkpoints(before)[-1]
    assert steps[-1] == 300
    check_archive(archive_of(shared, job_id, tmp_path / "set.zip", n=20, kept=17), 17)


def test_a_set_does_not_wait_behind_a_training_which_cancel_ends(
    shared: Served, made: Made
) -> None:
    training = shared.post(**LONG)
    shared.wait_for(training)
    child = shared.part("-m worker.child")

    def ready() -> bool:
        wanted = {"n": 4, "seed": 7}
        answer = shared.request("GET", f"/jobs/{made.job_id}/samples", params=wanted)
        return answer.status_code == 200

    wait_until(ready, 120)
    assert shared.job(training)["status"] == "running"

    shared.request("POST", f"/jobs/{training}/cancel")

    assert shared.wait_for_end(training, 20)["status"] == "cancelled"
    wait_until(lambda: not Path(f"/proc/{child}").exists(), 10)


@pytest.mark.slow
def test_finish_keeps_what_is_learned(shared: Served, tmp_path: Path) -> None:
    job_id = shared.post(**LONG)
    shared.wait_for(job_id, step=10)
    shared.wait_for_checkpoint(job_id)

    shared.request("POST", f"/jobs/{job_id}/finish")

    job = shared.wait_for_end(job_id)
    assert job["status"] == "succeeded"
    assert 10 <= job["metrics"]["training_steps"] < 5000
    check_archive(archive_of(shared, job_id, tmp_path / "set.zip"))
