"""``onepair evaluate`` as its user calls it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.evaluation.sets import SetOfFiles, encoded, scene

ROOT = Path(__file__).parents[3]


@pytest.fixture
def source(tmp_path: Path) -> tuple[Path, Path]:
    image, mask = scene(0)
    paths = tmp_path / "image.png", tmp_path / "mask.png"
    paths[0].write_bytes(encoded(image))
    paths[1].write_bytes(encoded(mask))
    return paths


@pytest.fixture
def files(tmp_path: Path) -> SetOfFiles:
    made = SetOfFiles(tmp_path)
    for seed in (1, 2, 3):
        made.add(str(seed), *scene(seed))
    return made


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "cli.main", "evaluate", *map(str, arguments)]


def environment() -> dict[str, str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("ONEPAIR_")}
    return {**clean, "COLUMNS": "140", "PYTHONPATH": str(ROOT)}


def onepair(*arguments: object, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments),
        cwd=cwd,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )


def test_prints_tables_and_writes_json(
    files: SetOfFiles, source: tuple[Path, Path], tmp_path: Path
) -> None:
    files.zipped()
    # relative paths, from elsewhere
    done = onepair(
        "set.zip", *source, "--no-unet", "--limit", 2, "--json", "report.json", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "report.json").read_text())
    for words in ("VGG-16 shift-tolerant", "verbatim source", "U-Net mean IoU", "background"):
        assert words in done.stdout
    assert "The first 2 of 3 pairs" in done.stdout
    counts = report["metrics"]["classes"]["by_class"][0]["histogram"]
    line = next(line for line in done.stdout.splitlines() if "background" in line)
    bars = line.split("│")[-2].strip()
    assert [bar != "·" for bar in bars] == [count > 0 for count in counts]
    assert "SIFID needs InceptionV3 weights" in done.stdout
    assert report["metrics"]["lpips_diversity"]["pairs_compared"] == 1
    assert "distance" in done.stderr, "progress goes beside the result"


def test_json_alone_on_standard_output(files: SetOfFiles, source: tuple[Path, Path]) -> None:
    done = onepair(files.laid_out(), *source, "--no-unet", "--json", "-")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["set"]["judged"] == 3


def test_wrong_input_is_a_message_a_hint_and_a_status(
    files: SetOfFiles, source: tuple[Path, Path], tmp_path: Path
) -> None:
    image, mask = scene(9)
    files.add("9", image, mask * 5)
    done = onepair(files.zipped(), *source, "--json", tmp_path / "report.json")
    assert done.returncode == 2
    assert "(undeclared_class)" in done.stderr
    assert "hint:" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert not (tmp_path / "report.json").exists()


def test_a_target_that_can_not_be_written_is_refused_at_once(
    files: SetOfFiles, source: tuple[Path, Path], tmp_path: Path
) -> None:
    done = onepair(files.zipped(), *source, "--json", tmp_path / "no" / "report.json")
    assert done.returncode == 2
    assert "(unwritable)" in done.stderr


def test_weights_come_from_the_environment_and_are_checked(
    files: SetOfFiles, source: tuple[Path, Path]
) -> None:
    done = subprocess.run(
        command(files.zipped(), *source),
        env={
            **environment(),
            "ONEPAIR_INCEPTION_WEIGHTS": str(source[0]),
            "ONEPAIR_INCEPTION_SHA256": "0" * 64,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "(bad_scoring_weights)" in done.stderr


@pytest.fixture
def _heeds_interrupts() -> Iterator[None]:
    """A shell starts background commands with SIGINT ignored, and children inherit that."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("_heeds_interrupts")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_command_leaves_no_process(
    how: signal.Signals, files: SetOfFiles, source: tuple[Path, Path]
) -> None:
    with subprocess.Popen(
        command(files.zipped(), *source),
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stderr is not None
        process.stderr.readline()  # the first stage has begun, so the measuring process lives
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        assert len(children) == 1
        process.send_signal(how)
        status = process.wait(30)
    assert status == (130 if how is signal.SIGINT else -signal.SIGKILL)
    deadline = time.monotonic() + 20
    while Path(f"/proc/{children[0]}/cmdline").exists():
        cmdline = Path(f"/proc/{children[0]}/cmdline").read_bytes()
        if not cmdline:  # a zombie that init has yet to collect
            break
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_the_command_line_loads_no_torch() -> None:
    code = (
        "import sys, cli.main; bad = {'torch', 'torchvision', 'numba', 'scipy'} & set(sys.modules);"
        "assert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
