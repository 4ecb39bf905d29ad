"""One log format for our own events and for what libraries log, with nothing secret in it."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import structlog
from pydantic import SecretStr
from structlog.typing import EventDict, Processor

from jobs.settings import Settings

OUR_PACKAGES = ("service", "worker", "jobs")
REDACTED = "***"


def configure_logging(settings: Settings) -> None:
    """Sends structlog's and the standard library's records to standard error, alike.

    Libraries speak from WARNING on, we from the configured level. Tracebacks are plain: pretty
    ones show local variables, and a local variable may be a URL with its password.

    Args:
        settings: for level and format, and for the secrets that no line may have.
    """
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    rendering: list[Processor] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta]
    if settings.log_format == "json":
        rendering += [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    else:
        rendering.append(
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
            )
        )
    handler = logging.StreamHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[*rendering, _without(secrets_of(settings))], foreign_pre_chain=shared
        )
    )
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    for package in OUR_PACKAGES:
        logging.getLogger(package).setLevel(settings.log_level.upper())


def secrets_of(settings: Settings) -> frozenset[str]:
    """Whatever must not be read in a log: keys, and passwords within URLs."""
    found = set()
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if isinstance(value, SecretStr):
            secret = value.get_secret_value()
            found.add((urlsplit(secret).password if "://" in secret else secret) or "")
    return frozenset(found - {""})


def _without(secrets: frozenset[str]) -> Callable[[Any, str, EventDict | str], str]:
    """A last processor, after rendering, that blots out secrets."""

    def blot(_logger: Any, _method: str, line: EventDict | str) -> str:
        blotted = str(line)
        for secret in secrets:
            blotted = blotted.replace(secret, REDACTED)
        return blotted

    return blot
