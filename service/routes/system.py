"""The service itself: is it alive, is it ready, which version, what does it measure."""

from __future__ import annotations

import platform
from typing import Literal

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import BaseModel, Field

from jobs.errors import JobsError
from osmis_core.data.estimates import typical_seconds
from osmis_core.data.presets import PRESETS
from service.context import ServicesDep
from service.metrics import GatewayMetrics
from service.problems import ProblemError, problem_response, problem_responses
from service.version import API_VERSION, package_version

router = APIRouter(tags=["service"])


class Alive(BaseModel):
    """The process answers."""

    status: Literal["alive"] = "alive"


class Ready(BaseModel):
    """Queue and store answer."""

    status: Literal["ready"] = "ready"
    queue: Literal["ok", "away"] = "ok"
    store: Literal["ok", "away"] = "ok"


class Version(BaseModel):
    """What runs here."""

    name: Literal["onepair"] = "onepair"
    version: str = Field(examples=["0.1.0"])
    api_version: str = Field(examples=["1"])
    python: str = Field(examples=["3.12.1"])


class PresetView(BaseModel):
    """One choice for ``preset``."""

    name: str = Field(examples=["standard"])
    summary: str
    method: str = Field(examples=["projected"], description="Unless the job names another.")
    training_seconds: float | None = Field(description="Time budget of the training.")
    iterations: int | None = Field(description="Training steps, where no time budget decides.")
    estimated_seconds: float = Field(
        description="Estimate for a whole job here: a 600x400 image, its set of 100 included."
    )
    needs_gpu: bool
    usable_here: bool = Field(description="False: refused with needs_gpu unless a length is given.")


class PresetsView(BaseModel):
    """All presets."""

    items: list[PresetView]


@router.get("/presets", summary="What do the presets do, and how long do they take here?")
async def presets(services: ServicesDep) -> PresetsView:
    """Presets set method, length and training size; ``POST /jobs`` takes one by name."""
    has_gpu = services.has_gpu
    return PresetsView(
        items=[
            PresetView(
                name=preset.name,
                summary=preset.summary,
                method=preset.method,
                training_seconds=preset.training_seconds,
                iterations=preset.iterations,
                estimated_seconds=typical_seconds(preset, has_gpu=has_gpu),
                needs_gpu=preset.needs_gpu,
                usable_here=has_gpu or not preset.needs_gpu,
            )
            for preset in PRESETS.values()
        ]
    )


@router.get("/livez", summary="Is the process alive?", response_model=Alive)
async def livez() -> Alive:
    """Says nothing of queue and store: restarting the gateway would not mend those."""
    return Alive()


@router.get(
    "/readyz",
    summary="Can jobs be accepted?",
    response_model=Ready,
    responses=problem_responses("store_away", "store_full"),
)
def readyz(services: ServicesDep) -> Response:
    """Asks the queue (Valkey) and the object store."""
    failures: dict[str, JobsError] = {}
    for name, ping in (("queue", services.tasks.ping), ("store", services.objects_watch.look)):
        try:
            ping()
        except JobsError as error:
            failures[name] = error
    if not failures:
        return JSONResponse(Ready().model_dump())
    is_full = all(error.code == "store_full" for error in failures.values())
    checks = {name: "away" if name in failures else "ok" for name in ("queue", "store")}
    return problem_response(
        ProblemError(
            "store_full" if is_full else "store_away",
            f"Not ready: {' and '.join(failures)}.",
            members=dict(checks),
        )
    )


@router.get("/version", summary="Which version runs?", response_model=Version)
async def version() -> Version:
    """The package's version, and the version of this API."""
    return Version(
        version=package_version(), api_version=API_VERSION, python=platform.python_version()
    )


@router.get(
    "/metrics",
    summary="Metrics for Prometheus",
    response_class=Response,
    responses={200: {"content": {"text/plain": {}}, "description": "Prometheus' text format."}},
)
def metrics(request: Request) -> Response:
    """Requests by route and status, their duration, the process, and all tasks."""
    held: GatewayMetrics = request.app.state.metrics
    return Response(generate_latest(held.registry), media_type=CONTENT_TYPE_LATEST)
