"""A service for one ``onepair run``: the one that runs on the data folder, or a fresh one."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from cli.data_folder import ADDRESS_NAME, is_claimed, read_address
from cli.parts import start_tethered
from cli.serve import READY_SECONDS, STOP_SECONDS, ServeError, is_ready

WAIT_SECONDS = 0.1


@contextmanager
def embedded_service(data_dir: Path, console: Console) -> Iterator[str]:
    """The URL of a service on ``data_dir``; what was started here is stopped at the end.

    Raises:
        ServeError: it can't be started.
    """
    if is_claimed(data_dir):
        url = read_address(data_dir)
        if url is None or not is_ready(url):
            raise ServeError(
                f"Another OnePair holds {data_dir}, but does not answer.",
                "Wait for it, stop it, or choose another --data-dir.",
            )
        console.print(f"using the service that runs on {data_dir}: {url}", highlight=False)
        yield url
        return
    data_dir.mkdir(parents=True, exist_ok=True)
    (data_dir / ADDRESS_NAME).unlink(missing_ok=True)
    log = data_dir / "logs" / "serve.log"
    command = [sys.executable, "-m", "cli.main", "serve", "--port", "0"]
    process = start_tethered(
        [*command, "--data-dir", str(data_dir)],
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        log=log,
    )
    try:
        with console.status("starting OnePair …"):
            url = _wait_for_address(process, data_dir, log)
        yield url
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS + 10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for_address(process: subprocess.Popen[bytes], data_dir: Path, log: Path) -> str:
    deadline = time.monotonic() + READY_SECONDS + 10
    while time.monotonic() < deadline:
        url = read_address(data_dir)
        if url is not None:
            return url
        if process.poll() is not None:
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
            raise ServeError(f"The service did not start:\n{tail}", f"Logs: {log.parent}")
        time.sleep(WAIT_SECONDS)
    raise ServeError("The service was not ready in time.", f"Logs: {log.parent}")
