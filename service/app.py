"""The gateway's application: ``create_app(settings)``."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import APIRouter, FastAPI

from jobs.settings import Settings, load_settings
from jobs.state import connect
from jobs.state.reader import TaskReader
from service.access import AdmitCallers
from service.answer_headers import AnswerHeaders
from service.background import housekeeping
from service.body_limit import BodyLimitProblems
from service.context import open_services, valkey_url
from service.documentation import DESCRIPTION, install_openapi
from service.metrics import GatewayMetrics, MeasureRequests
from service.patience import PatientUploads
from service.problems import install_problem_handlers, problem_responses
from service.request_id import NameRequests
from service.routes import archive, control, events, hooks, jobs, samples, system
from service.task_metrics import TaskMetrics
from service.version import package_version

_SCRAPE_SECONDS = 1.0
_MAX_FILES = 2
_MAX_FIELDS = 60  # up to 32 of them are names of classes
_MAX_FIELD_BYTES = 64 * 1024
_UNTRACED = frozenset({"/livez", "/readyz", "/metrics"})
_TAGS = [
    {"name": "jobs", "description": "Submit a pair, watch it learn."},
    {"name": "events", "description": "Follow a job or a sample set."},
    {"name": "samples", "description": "New pairs from what was learned."},
    {"name": "service", "description": "Health, version, metrics."},
]


def create_app(settings: Settings | None = None) -> FastAPI:
    """Build the gateway.

    Args:
        settings: from the environment where not given, as servers with ``--factory`` need it.

    Returns:
        The ASGI application; connections are opened when it starts.
    """
    settings = settings or load_settings()
    app = FastAPI(
        title="OnePair",
        version=package_version(),
        description=DESCRIPTION,
        openapi_tags=_TAGS,
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        lifespan=_lifespan,
        redoc_url=None,
        # Spans go where ``jobs.tracing`` sends them; without it there are none.
        telemetry={
            "metrics": False,
            "logs": False,
            "operation_spans": False,
            "auto_configure": False,
            "exclude": lambda scope: scope.get("path") in _UNTRACED,
        },
    )
    app.state.settings = settings
    app.state.metrics = GatewayMetrics()
    install_problem_handlers(app)
    _add_routes(app, settings)
    install_openapi(app)
    # The last one added is the outermost.
    app.add_middleware(AdmitCallers)
    app.add_middleware(PatientUploads, settings=settings)
    app.add_middleware(BodyLimitProblems, max_upload_bytes=settings.max_upload_bytes)
    app.add_middleware(AnswerHeaders)
    app.add_middleware(MeasureRequests, metrics=app.state.metrics)
    app.add_middleware(NameRequests)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with open_services(app.state.settings) as services:
        app.state.services = services
        url = valkey_url(app.state.settings)
        with connect(url, timeout_seconds=_SCRAPE_SECONDS) as client:
            reader = TaskReader(client, app.state.settings)
            app.state.metrics.registry.register(TaskMetrics(reader, services.objects_watch))
            async with housekeeping(services):
                yield


def _add_routes(app: FastAPI, settings: Settings) -> None:
    # Limits per router, so that the problem middleware lies outside of them.
    uploads = APIRouter(
        max_body_size=settings.max_upload_bytes,
        form_limits={
            "max_files": _MAX_FILES,
            "max_fields": _MAX_FIELDS,
            "max_part_size": _MAX_FIELD_BYTES,
        },
    )
    uploads.include_router(jobs.router)
    app.include_router(uploads, responses=problem_responses("internal_error"))
    small = APIRouter(max_body_size=_MAX_FIELD_BYTES)
    routers = (
        control.router, events.router, samples.router, archive.router, hooks.router, system.router,
    )  # fmt: skip
    for router in routers:
        small.include_router(router)
    app.include_router(small, responses=problem_responses("internal_error"))
