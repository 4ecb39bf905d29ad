"""What a worker process holds: its clients, its supervisor, and a thread for housekeeping."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import threading
from collections.abc import Sequence

import structlog

from jobs.errors import StoreAway, StoreFull
from jobs.housekeeping import run_round
from jobs.objects import ObjectStore, open_store
from jobs.queue import Queue
from jobs.record import TaskRef
from jobs.settings import Settings
from jobs.state import TaskStore, connect
from worker.health import beat_file
from worker.supervisor import Supervisor
from worker.workshop import Workshop

log = structlog.get_logger(__name__)

CHILD_COMMAND = (sys.executable, "-m", "worker.child")
HEALTH_SECONDS = 5.0
JOIN_SECONDS = 45.0


class Runtime:
    """Everything behind the Celery tasks; made once a process.

    Args:
        settings: of the process; ``valkey_url`` must be set, a worker embeds no server.
        name: of the worker, unique in its data folder: the queue it serves.
        child_command: what does the work.
    """

    def __init__(
        self, settings: Settings, name: str, *, child_command: Sequence[str] = CHILD_COMMAND
    ) -> None:
        url = broker_url(settings)
        self.settings = settings
        self._store = TaskStore(connect(url), settings)
        self._objects: ObjectStore = open_store(settings)
        self._queue = Queue(settings, url)
        self._beat_file = beat_file(settings.data_dir, name)
        folder = settings.data_dir.resolve() / "worker" / name
        shutil.rmtree(folder, ignore_errors=True)  # what a killed worker has left
        folder.mkdir(parents=True)
        self._shop = Workshop(
            settings=settings,
            store=self._store,
            objects=self._objects,
            child_command=tuple(child_command),
            folder=folder,
        )
        self._supervisor = Supervisor(self._shop)
        self._stopping = threading.Event()
        self._pulse = threading.Thread(target=self._show_life, name="sign of life", daemon=True)
        self._keeper = threading.Thread(target=self._keep_house, name="housekeeping", daemon=True)

    def start(self) -> None:
        """Starts the threads, and answers Prometheus where a port is set."""
        if self.settings.metrics_port is not None:
            try:
                self._shop.metrics.serve(self.settings.metrics_host, self.settings.metrics_port)
            except OSError as error:  # work goes on unseen
                log.warning("metrics_not_served", reason=str(error))
        self._supervisor.start()
        self._pulse.start()
        self._keeper.start()

    def run(self, ref: TaskRef) -> None:
        """A message came: see the task through."""
        self._supervisor.run(ref)

    def request_stop(self) -> None:
        """Lets the running child checkpoint; safe in a signal handler."""
        self._stopping.set()
        self._supervisor.stop()

    def close(self) -> None:
        """Waits for the threads and closes the clients."""
        self.request_stop()
        self._supervisor.join(JOIN_SECONDS)
        self._pulse.join(HEALTH_SECONDS)
        self._keeper.join(HEALTH_SECONDS)
        self._beat_file.unlink(missing_ok=True)
        self._queue.close()

    def _show_life(self) -> None:
        """A sign of life every few seconds, whatever the stores do."""
        while not self._stopping.wait(HEALTH_SECONDS):
            if not self._supervisor.is_alive:
                log.critical("supervisor_died")
                os.kill(os.getpid(), signal.SIGTERM)
                return
            self._beat_file.parent.mkdir(parents=True, exist_ok=True)
            self._beat_file.touch()

    def _keep_house(self) -> None:
        """REAP soon, and then every ``reap_seconds``."""
        pause = min(HEALTH_SECONDS, self.settings.reap_seconds)
        while not self._stopping.wait(pause):
            self._reap()
            pause = self.settings.reap_seconds

    def _reap(self) -> None:
        try:
            run_round(self._store, self._objects, self._queue)
        except (StoreAway, StoreFull) as error:
            log.warning("reap_failed", reason=str(error))
        except Exception:
            log.exception("reap_broke")


def broker_url(settings: Settings) -> str:
    """The configured server's URL.

    Raises:
        SystemExit: none is configured.
    """
    if settings.valkey_url is None:
        raise SystemExit(
            "A worker needs ONEPAIR_VALKEY_URL. `onepair serve` starts Valkey, workers and gateway."
        )
    return settings.valkey_url.get_secret_value()
