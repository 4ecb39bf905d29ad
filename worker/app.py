"""The Celery app: ``celery --app worker.app:app worker --queues jobs``.

A message only rings; what is to be done, and who may do it, stands in the state machine. Each
queue has worker processes of its own, so a sample set never waits behind a training.
"""

from __future__ import annotations

from typing import Any

import celery
import structlog
from celery import bootsteps, signals

from jobs.logs import configure_logging
from jobs.queue import RUN_JOB, RUN_SET, celery_config
from jobs.record import TaskRef
from jobs.settings import load_settings
from jobs.tracing import configure_tracing
from worker.runtime import Runtime, broker_url

NO_INCEPTION = (
    "Sets are ranked on VGG-16, and nothing is called SIFID. `onepair weights install` changes it."
)
log = structlog.get_logger(__name__)


class RuntimeStep(bootsteps.StartStopStep):  # type: ignore[misc]
    """Makes the runtime when the worker starts and closes it when it ends."""

    requires = ("celery.worker.components:Pool",)

    def start(self, parent: Any) -> None:
        """The worker is up: ``parent`` is Celery's WorkController."""
        queues = "-".join(sorted(parent.app.amqp.queues.consume_from))
        log.info("worker_starts", queues=queues)
        settings = load_settings()
        configure_tracing(settings, "onepair-worker")
        if settings.inception_weights is None:
            log.warning("no_inception_weights", hint=NO_INCEPTION)
        parent.onepair = Runtime(settings, queues)
        parent.app.onepair = parent.onepair
        signals.worker_shutting_down.connect(_on_shutdown, weak=False)
        parent.onepair.start()

    def stop(self, parent: Any) -> None:
        """The pool has drained."""
        parent.onepair.close()


def _on_shutdown(**_details: Any) -> None:
    """SIGTERM arrived: the pool waits for the running task, so let that one end."""
    app.onepair.request_stop()


def create_app() -> celery.Celery:
    """The app with the settings of ``docs/reliability.md``."""
    settings = load_settings()
    made = celery.Celery("onepair", set_as_current=False)
    made.conf.update(celery_config(settings, broker_url(settings)))
    made.conf.update(worker_redirect_stdouts=False)  # would wrap each line of ours in one of its
    made.steps["worker"].add(RuntimeStep)
    for name in (RUN_JOB, RUN_SET):
        made.task(_ring, name=name, bind=True, ignore_result=True)
    return made


@signals.setup_logging.connect
def _set_up_logging(**_details: Any) -> None:
    """In place of Celery's own set-up, which it leaves out when somebody listens here."""
    configure_logging(load_settings())


def _ring(self: celery.Task, address: str) -> None:
    """A task's doorbell: ``address`` is ``str(TaskRef)``."""
    self.app.onepair.run(TaskRef.parse(address))


app = create_app()
