"""The doorbell: a Celery message carries one task's address and nothing else.

Messages may be lost or repeated; truth is the state machine.
"""

from __future__ import annotations

from typing import Any

import celery
import kombu.exceptions
import redis
from celery.exceptions import OperationalError as CeleryOperationalError

from jobs.record import Kind, TaskRef
from jobs.settings import Settings
from jobs.state.connection import celery_url, connect, valkey_errors

__all__ = [
    "JOBS_QUEUE",
    "QUEUES",
    "RUN_JOB",
    "RUN_SET",
    "SETS_QUEUE",
    "TASKS",
    "Queue",
    "celery_config",
    "celery_url",
    "key_prefix",
]

RUN_JOB = "onepair.run_job"
RUN_SET = "onepair.run_set"
JOBS_QUEUE = "jobs"
SETS_QUEUE = "sets"
QUEUES = {Kind.JOB: JOBS_QUEUE, Kind.SET: SETS_QUEUE}
TASKS = {Kind.JOB: RUN_JOB, Kind.SET: RUN_SET}


def key_prefix(settings: Settings) -> str:
    """Prefix of Celery's keys: ``cel:``, and the namespace when it is not the usual one."""
    usual = Settings.model_fields["namespace"].default
    return "cel:" if settings.namespace == usual else f"cel:{settings.namespace}:"


def celery_config(settings: Settings, broker_url: str) -> dict[str, Any]:
    """Celery's settings, for the gateway's producer and for the worker.

    Args:
        settings: for the namespace.
        broker_url: as given to ``jobs.state.connect``.
    """
    return {
        "broker_url": celery_url(broker_url),
        "result_backend": None,
        "task_ignore_result": True,
        # Acknowledged early: the lease, not the message, brings a lost job back.
        "task_acks_late": False,
        "worker_pool": "threads",
        "worker_concurrency": 1,
        "worker_prefetch_multiplier": 1,
        "worker_disable_prefetch": True,
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "broker_transport_options": {
            "visibility_timeout": 3_600,
            "socket_timeout": 30,
            "socket_connect_timeout": 5,
            "socket_keepalive": True,
            "health_check_interval": 25,
            "global_keyprefix": key_prefix(settings),
        },
        "task_serializer": "json",
        "accept_content": ["json"],
        "task_default_queue": JOBS_QUEUE,
        "task_create_missing_queues": True,
        "task_routes": {RUN_JOB: {"queue": JOBS_QUEUE}, RUN_SET: {"queue": SETS_QUEUE}},
    }


class Queue:
    """The producing side: ring a task's doorbell, see how many bells wait."""

    def __init__(self, settings: Settings, broker_url: str) -> None:
        self._app = celery.Celery("onepair", set_as_current=False)
        self._app.conf.update(celery_config(settings, broker_url))
        # One quick try: REAP rings again, and a client is waiting.
        self._app.conf.task_publish_retry = False
        self._prefix = key_prefix(settings)
        self._client = connect(broker_url)

    def ring(self, ref: TaskRef) -> bool:
        """Publish a task's address.

        Returns:
            False when it failed: harmless, housekeeping rings again within ``reap_seconds``.
        """
        try:
            self._app.send_task(
                TASKS[ref.kind], args=[str(ref)], queue=QUEUES[ref.kind], retry=False
            )
        except (
            kombu.exceptions.OperationalError,
            CeleryOperationalError,
            redis.exceptions.RedisError,
            OSError,
        ):
            return False
        return True

    def waiting(self, kind: Kind) -> int:
        """How many messages wait in a queue. Raises ``StoreAway``."""
        with valkey_errors():
            return int(self._client.llen(f"{self._prefix}{QUEUES[kind]}"))

    def close(self) -> None:
        """Close the connections."""
        self._app.close()
        self._client.close()
