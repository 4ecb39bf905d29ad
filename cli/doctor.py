"""``onepair doctor``: looks at everything a deployment relies on, and says what to do."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from cli.data_folder import is_claimed, valkey_address
from jobs.api_keys import is_open_to_others
from jobs.checkup import Finding, Verdict, look_at_objects, look_at_tasks, look_at_valkey
from jobs.errors import JobsError
from jobs.files import file_sha256, free_bytes
from jobs.objects import open_store
from jobs.settings import Settings
from jobs.state import TaskStore, connect

LEAST_FREE_BYTES = 2e9
DEVICE_SECONDS = 120.0
_DEVICE_REPORT = "worker.device_report"


def look_at_everything(settings: Settings) -> Iterator[Finding]:
    """Every finding, in the order in which one would look."""
    yield from _valkey(settings)
    yield from _objects(settings)
    yield _disk(settings.data_dir)
    yield from _device(settings)
    yield _weights(settings)
    yield _exposure(settings)


def _valkey(settings: Settings) -> Iterator[Finding]:
    if settings.embedded and not is_claimed(settings.data_dir):
        yield Finding("Valkey", Verdict.OK, "embedded; `onepair serve` starts it")
        return
    with connect(valkey_address(settings), timeout_seconds=3.0) as client:
        yield from look_at_valkey(client)
        yield from look_at_tasks(TaskStore(client, settings))


def _objects(settings: Settings) -> Iterator[Finding]:
    try:
        objects = open_store(settings)
    except (JobsError, ValueError) as error:
        yield Finding(
            "object store", Verdict.BAD, str(error), "Look at ONEPAIR_STORE, ONEPAIR_S3_*."
        )
        return
    yield from look_at_objects(objects)


def _disk(folder: Path) -> Finding:
    free = free_bytes(folder)
    detail = f"{free / 1e9:.0f} GB free for {folder}"
    if free < LEAST_FREE_BYTES:
        hint = "A job keeps some 100 MB, its worker the same again while it runs: make room."
        return Finding("disk", Verdict.WARN, detail, hint)
    return Finding("disk", Verdict.OK, detail)


def _device(settings: Settings) -> Iterator[Finding]:
    """Asked in a process of its own: only workers load torch."""
    command = [sys.executable, "-m", _DEVICE_REPORT]
    try:
        asked = subprocess.run(
            command, capture_output=True, text=True, timeout=DEVICE_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        hint = "A driver that doesn't answer needs a restart of the machine."
        yield Finding("device", Verdict.BAD, f"no answer in {DEVICE_SECONDS:.0f} s", hint)
        return
    if asked.returncode != 0:
        needed = settings.device == "cuda"
        last = (asked.stderr.strip().splitlines() or ["no words"])[-1]
        hint = "This machine can serve, but not work: install onepair[core] where workers run."
        yield Finding("device", Verdict.BAD if needed else Verdict.WARN, last, hint)
        return
    found = json.loads(asked.stdout)
    if found["gpus"]:
        driver = f"CUDA {found['cuda']}; {found['driver'] or 'its driver is not seen here'}"
        yield Finding("driver", Verdict.OK, driver)
        for gpu in found["gpus"]:
            yield Finding(
                "device", Verdict.OK, f"{gpu['name']}, {gpu['memory_bytes'] / 1e9:.0f} GB"
            )
        return
    detail = f"no GPU; {found['cores']} cores, torch {found['torch']}"
    if settings.device == "cuda":
        hint = "Does nvidia-smi work, and is the container given the GPU? Else ONEPAIR_DEVICE=cpu."
        yield Finding("device", Verdict.BAD, detail, hint)
    elif shutil.which("nvidia-smi"):
        hint = "There is a driver, and torch does not see its GPU: do their CUDA versions fit?"
        yield Finding("device", Verdict.WARN, detail, hint)
    else:
        yield Finding("device", Verdict.OK, detail)


def _weights(settings: Settings) -> Finding:
    path, wanted = settings.inception_weights, settings.inception_sha256
    if path is None:
        detail = "none: samples are ranked on VGG-16 (stlpips), and no score is called SIFID"
        return Finding("InceptionV3 weights", Verdict.OK, detail)
    try:
        found = file_sha256(path)
    except OSError as error:
        hint = "Mend ONEPAIR_INCEPTION_WEIGHTS; workers fail their sets without the file."
        return Finding("InceptionV3 weights", Verdict.BAD, f"{path}: {error.strerror}", hint)
    if found != wanted:
        hint = "The file is damaged or another one: get it again, or mend ONEPAIR_INCEPTION_SHA256."
        return Finding("InceptionV3 weights", Verdict.BAD, f"SHA-256 is {found}", hint)
    return Finding("InceptionV3 weights", Verdict.OK, f"{path}, SHA-256 as configured")


def _exposure(settings: Settings) -> Finding:
    where = f"the gateway listens on {settings.host}"
    if not is_open_to_others(settings):
        return Finding("access", Verdict.OK, where)
    hint = "Make a key: `onepair keys create NAME`."
    verdict = Verdict.WARN if settings.allow_open else Verdict.BAD
    return Finding("access", verdict, f"{where} and asks nobody for a key", hint)
