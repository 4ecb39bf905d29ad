"""Small valid records for tests."""

from __future__ import annotations

import hashlib
from typing import Any

from jobs.keys import new_job_id
from jobs.record import (
    Checkpoint,
    ClassInfo,
    Engine,
    JobFailure,
    JobInput,
    JobRequest,
    SampleSetRequest,
    SetResult,
)
from jobs.state import NewJob

ENGINE = Engine(core_version="0.1.0", scoring_network="test", scoring_weights_sha256="e" * 64)
FAILURE = JobFailure(code="child_died", detail="The training process ended with status 1.")


def new_job(**changes: Any) -> NewJob:
    """A job of two classes."""
    job_id = changes.pop("id", None) or new_job_id()
    values: dict[str, Any] = {
        "id": job_id,
        "request": JobRequest(first_set=SampleSetRequest(n=4)),
        "input": JobInput(
            image_key=f"jobs/{job_id}/input/image.png",
            mask_key=f"jobs/{job_id}/input/mask.png",
            pair_key=f"jobs/{job_id}/input/pair.json",
            image_sha256="a" * 64,
            mask_sha256="b" * 64,
            size_bytes=70_000,
        ),
        "classes": (
            ClassInfo(index=0, name="background", area_fraction=0.75),
            ClassInfo(index=1, name="coin", area_fraction=0.25),
        ),
    }
    return NewJob(**(values | changes))


def checkpoint(job_id: str, step: int, *, final: bool = False, token: str = "1") -> Checkpoint:
    """A checkpoint whose key and hash follow from its step."""
    return Checkpoint(
        key=f"jobs/{job_id}/a{token}/checkpoint-{step:06}.safetensors",
        sha256=hashlib.sha256(f"{job_id} {step}".encode()).hexdigest(),
        step=step,
        size_bytes=1_000,
        final=final,
    )


def set_result(prefix: str) -> SetResult:
    """What a finished set of four samples left."""
    return SetResult(
        archive_key=f"{prefix}samples.zip",
        items_key=f"{prefix}items.json",
        sheet_key=f"{prefix}sheet.png",
        size_bytes=12_345,
        sha256="c" * 64,
        generated=4,
        kept=3,
        rejected=1,
    )
