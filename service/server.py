"""Runs the gateway with uvicorn, with the limits it needs."""

from __future__ import annotations

import resource

import structlog
import uvicorn

from jobs.api_keys import is_open_to_others
from jobs.logs import configure_logging
from jobs.settings import Settings
from jobs.tracing import configure_tracing
from service.app import create_app
from service.patience import patient_protocol

_KEEP_ALIVE_SECONDS = 20
_BACKLOG = 512
_OTHER_FILES = 200
_LOG = structlog.get_logger(__name__)


def run(settings: Settings, *, fd: int | None = None) -> None:
    """Serve until SIGTERM or SIGINT.

    Args:
        settings: for host, port and everything else.
        fd: an inherited listening socket, instead of host and port.
    """
    configure_logging(settings)
    configure_tracing(settings, "onepair-gateway")
    _allow_connections(settings.max_connections)
    if is_open_to_others(settings):
        if not settings.allow_open:
            raise SystemExit(
                f"The gateway would listen on {settings.host} and ask nobody for a key. Make one: "
                f"`onepair keys create NAME --file {settings.api_keys_path}`, or set "
                "ONEPAIR_ALLOW_OPEN=true."
            )
        _LOG.warning("open_to_others", host=settings.host)
    uvicorn.run(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        fd=fd,
        http=patient_protocol(settings.request_head_seconds),
        log_level=settings.log_level,
        # Presigned URLs and ids don't belong into a log; the metrics count requests.
        access_log=False,
        log_config=None,  # its lines go where ours go
        server_header=False,
        limit_concurrency=settings.max_connections,
        backlog=_BACKLOG,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=settings.shutdown_seconds,
    )


def _allow_connections(count: int) -> None:
    """Raises the soft limit of open files as far as it goes: each connection is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard != resource.RLIM_INFINITY and hard < count + _OTHER_FILES:
        _LOG.warning("few_open_files", limit=hard, max_connections=count)
