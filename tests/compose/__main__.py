"""``python -m tests.compose``: images really built, the stack really run, a job really done.

Exit status 0: all of it holds. 1: something doesn't. 3: it can't be tried on this machine.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx2

from tests.compose import images
from tests.compose.engine import CannotRunError, Engine, check_machine, running_engine
from tests.compose.stack import TAG, Stack
from tests.customer import COINS, Customer, checkpoints, wait_until
from tests.servers import free_ports

SAMPLES = 8
PATIENCE_SECONDS = 300.0
HOST, SUBNET = "10.213.7.1", "10.213.7.0/24"
MOST_SECONDS = 40 * 60
GATEWAY_MOST_BYTES = 250_000_000
"""Over its base."""


def main() -> int:
    """All steps, one after the other; what was built is kept for the next time."""
    parser = argparse.ArgumentParser(prog="python -m tests.compose", description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("/var/tmp/onepair-compose"))
    parser.add_argument("--no-build", action="store_true", help="with the images that were kept")
    parser.add_argument("--keep", action="store_true", help="images, for the next run")
    chosen = parser.parse_args()
    chosen.folder.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the engine ends too
    try:
        check_machine(chosen.folder, builds=not chosen.no_build)
        with running_engine(chosen.folder) as engine:
            print(f"Docker {engine.version}, {engine.driver}", flush=True)
            if not chosen.no_build:
                build(engine, chosen.folder)
            use(engine, chosen.folder)
    except CannotRunError as error:
        print(f"NOT RUN, and so not passed: {error}")
        return 3
    if not chosen.keep:
        shutil.rmtree(chosen.folder)
    seconds = time.monotonic() - began
    print(f"test-compose: passed in {seconds / 60:.0f} minutes, of {MOST_SECONDS / 60:.0f}")
    return 0 if seconds <= MOST_SECONDS else 1


@contextmanager
def step(name: str) -> Iterator[None]:
    """Says how long it took."""
    began = time.monotonic()
    yield
    print(f"{time.monotonic() - began:6.0f} s  {name}", flush=True)


def build(engine: Engine, folder: Path) -> None:
    """All images, and what they weigh."""
    with step("base image, by debootstrap"):
        images.make_base(engine, folder)
    with step("Valkey's and SeaweedFS's images"):
        images.make_stores(engine, folder)
    base = images.size_bytes(engine, images.BASE)
    for part in images.OURS:
        tag = f"onepair-{part}:{TAG}"
        with step(f"{part}'s image"):
            images.make_ours(engine, folder, part, tag)
        weight = images.size_bytes(engine, tag) - base
        print(f"          {weight / 1e6:.0f} MB over its base of {base / 1e6:.0f} MB")
        if part == "gateway":
            assert weight <= GATEWAY_MOST_BYTES, f"gateway: {weight / 1e6:.0f} MB"
            assert "No module named 'torch'" in engine.docker(
                "run", "--rm", tag, "python", "-c", "import torch", check=False
            )


def use(engine: Engine, folder: Path) -> None:
    """Starts the stack, has it do a job while its worker dies, and fetches what it made."""
    clear(engine)
    # An address of this machine that every container reaches: that of a bridge of its own.
    engine.docker("network", "create", "--subnet", SUBNET, "--gateway", HOST, "reachable")
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = HOST
    stack = Stack(engine, folder / "project", HOST, free_ports(1)[0])
    stack.prepare()
    try:
        with step("the stack is healthy"):
            stack.up()
        with step("its commands"):
            try_commands(stack)
        with step("a job, its worker killed on the way"):
            job = do_job(stack)
        with step("its archive, through the gateway"):
            whole = fetch(stack, job)
        with step("its archive, by a presigned URL, from here and from another network"):
            stack.presign()
            assert fetch_presigned(stack, job) == whole
        with step("`onepair run --url`, on the default method, to an unpacked zip"):
            run_from_outside(stack, folder / "out")
        with step("two workers; all stopped and started; records brought back"):
            live_with_it(stack, job)
        check_logs(stack)
        for part in images.OURS:
            found = images.secrets_in(engine, f"onepair-{part}:{TAG}", stack.secrets)
            assert not found, f"in the {part}'s image: {found}"
    except BaseException:
        with suppress(RuntimeError, subprocess.TimeoutExpired):  # what has failed is said below
            print(stack.logs()[-6000:])
        raise
    finally:
        with step("all of it taken down"):
            stack.down()
            engine.docker("network", "rm", "reachable", check=False)
    assert not engine.docker("ps", "--all", "--quiet").strip()
    assert not engine.docker("volume", "ls", "--quiet").strip()


def clear(engine: Engine) -> None:
    """What a run that was killed has left: its containers would start again."""
    for command, names in (
        (("rm", "--force", "--volumes"), engine.docker("ps", "--all", "--quiet")),
        (("volume", "rm"), engine.docker("volume", "ls", "--quiet")),
        (("network", "rm"), engine.docker("network", "ls", "--quiet", "--filter", "type=custom")),
    ):
        if names.split():
            engine.docker(*command, *names.split())


def try_commands(stack: Stack) -> None:
    """Those of docs/deploy.md that are no job."""
    stack.exec("worker-jobs", "onepair", "doctor")  # fails where something has to be mended
    assert httpx2.get(f"{stack.url}/readyz", timeout=30).status_code == 200
    keys = stack.folder / "keys"
    stack.shell("mkdir -p keys && chown 10001 keys")
    made = stack.run(
        *("gateway", "onepair", "keys", "create", "lab", "--file", "/made/api-keys.json"),
        volume=f"{keys}:/made",
    )
    assert "onepair_" in made, made
    assert json.loads((keys / "api-keys.json").read_text())["keys"][0]["name"] == "lab"
    weights = stack.folder / "weights"
    weights.mkdir()
    (weights / "inception_v3_google-0cc3c7bd.pth").write_bytes(b"another file")
    refused = stack.run(
        "weights", "/in/inception_v3_google-0cc3c7bd.pth", volume=f"{weights}:/in:ro"
    )
    assert "0cc3c7bd was expected" in refused, refused


def do_job(stack: Stack) -> dict[str, Any]:
    """One that is in training when its worker dies, and succeeds all the same."""
    customer = Customer(stack.url)
    job_id = customer.post(iterations="100000", n=str(SAMPLES))

    def job() -> dict[str, Any]:
        found = customer.job(job_id)
        assert found["status"] not in {"failed", "cancelled"}, found
        return found

    def published() -> list[int]:
        return checkpoints(customer.events(job_id))

    def trained_to() -> int:
        return int(((job().get("progress") or {}).get("step")) or 0)

    wait_until(lambda: trained_to() >= 20 and published(), PATIENCE_SECONDS)
    stack.kill("worker-jobs")
    before = max(published())
    wait_until(lambda: max(published()) > before, PATIENCE_SECONDS)
    customer.request("POST", f"/jobs/{job_id}/finish")
    wait_until(lambda: job()["status"] == "succeeded", PATIENCE_SECONDS)
    happened = customer.events(job_id)
    statuses = [one["data"]["status"] for one in happened if one["type"] == "status"]
    assert statuses == ["queued", "running", "queued", "running", "succeeded"], statuses
    return job()


def archive_url(stack: Stack, job: dict[str, Any]) -> str:
    """Of the job's own set."""
    sets = httpx2.get(f"{stack.url}/jobs/{job['id']}/samples", params={"n": SAMPLES}, timeout=30)
    found = sets.raise_for_status().json()
    return f"{stack.url}/jobs/{job['id']}/samples/{found['id']}/archive"


def fetch(stack: Stack, job: dict[str, Any]) -> bytes:
    """The archive through the gateway; it holds pairs."""
    answer = httpx2.get(archive_url(stack, job), timeout=60)
    assert answer.status_code == 200, (answer.status_code, answer.text[:500])
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        assert json.loads(archive.read("manifest.json"))
        kept = archive.read("metadata.jsonl").splitlines()
        for line in map(json.loads, kept):
            for name in ("file_name", "mask_file_name"):
                assert archive.read(line[name])[:4] == b"\x89PNG"
    assert len(kept) == 7  # of 8, one was rejected
    return answer.content


def fetch_presigned(stack: Stack, job: dict[str, Any]) -> bytes:
    """The archive by the address that the gateway redirects to, from both sides."""
    redirect = httpx2.get(archive_url(stack, job), timeout=60, follow_redirects=False)
    assert redirect.status_code in {302, 303, 307}, redirect.status_code
    signed = redirect.headers["location"]
    assert "X-Amz-Signature=" in signed
    here = httpx2.get(signed, timeout=60).raise_for_status().content
    stack.engine.docker("network", "create", "elsewhere")
    try:
        reading = (
            "import hashlib, sys, urllib.request;"
            "body = urllib.request.urlopen(sys.argv[1]).read();"
            "print(hashlib.sha256(body).hexdigest())"
        )
        there = stack.engine.docker(
            *("run", "--rm", "--network", "elsewhere", images.BASE),
            *("python3", "-c", reading, signed),
        )
    finally:
        stack.engine.docker("network", "rm", "elsewhere")
    assert there.strip() == sha256(here).hexdigest()
    forged = signed.replace("X-Amz-Signature=", "X-Amz-Signature=0")
    assert httpx2.get(forged, timeout=60).status_code == 403
    return here


def run_from_outside(stack: Stack, out: Path) -> None:
    """The command line of this machine against the stack: the archive comes from the store."""
    shutil.rmtree(out, ignore_errors=True)
    pair = [str(COINS / f"{name}.png") for name in ("image", "mask")]
    options = ["--preset", "draft", "--iterations", "400", "--n", str(SAMPLES), "-o", str(out)]
    done = subprocess.run(
        [sys.executable, "-m", "cli.main", "run", *pair, *options, "--url", stack.url],
        cwd=images.ROOT,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (archive,) = out.rglob("*.zip")
    with zipfile.ZipFile(archive) as opened:
        assert opened.testzip() is None
        assert json.loads(opened.read("manifest.json"))
    (table,) = out.rglob("metadata.jsonl")
    for line in map(json.loads, table.read_text().splitlines()):
        assert (table.parent / line["file_name"]).exists()


def live_with_it(stack: Stack, job: dict[str, Any]) -> None:
    """As docs/deploy.md says one can."""
    assert len(stack.scale("worker-jobs", 2)) == 2
    stack.stop()
    stack.up()
    assert Customer(stack.url).job(job["id"])["status"] == "succeeded"
    valkey = "redis-cli -a $(sed 's|.*:\\([^@]*\\)@.*|\\1|' /run/secrets/onepair_valkey_url)"
    stack.exec("valkey", "sh", "-c", f"{valkey} flushall")
    assert httpx2.get(f"{stack.url}/jobs/{job['id']}", timeout=30).status_code == 404
    restored = stack.exec("gateway", "onepair", "rebuild")
    assert "restored" in restored, restored
    assert Customer(stack.url).job(job["id"])["status"] == "succeeded"


def check_logs(stack: Stack) -> None:
    """Nothing secret was said, and what is missing was: no InceptionV3, so nothing is SIFID.

    Lines of ours are JSON, and those of a job have its id and its request's.
    """
    said = stack.logs()
    ours = [
        json.loads(line.partition("| ")[2])
        for line in stack.logs("gateway", "worker-jobs", "worker-sets").splitlines()
        if line.partition("| ")[2].startswith("{")
    ]
    assert any({"job", "request_id"} <= set(line) for line in ours)
    assert any(line.get("event") == "attempt_begins" for line in ours)
    for secret in stack.secrets:
        assert secret not in said
    assert "X-Amz-Signature" not in said
    assert "no_inception_weights" in said


if __name__ == "__main__":
    sys.exit(main())
