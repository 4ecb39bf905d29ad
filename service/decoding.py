"""The decoding helper: reads one uploaded pair in a process of its own, under hard limits.

``python -m service.decoding FOLDER`` reads ``FOLDER/request.json``, ``FOLDER/image`` and, where
there is one, ``FOLDER/mask``, and leaves ``FOLDER/answer.json``; where the pair is wanted, also the
normalised ``image.png``, ``mask.png`` and ``pair.json`` in ``FOLDER/normalised/``. What an image
file can do to a decoder (gigabytes of pixels, endless loops, a crash) it does here, not to the
gateway.
"""

from __future__ import annotations

import json
import resource
import signal
import sys
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

REQUEST_NAME = "request.json"
ANSWER_NAME = "answer.json"
NORMALISED_NAME = "normalised"
EXIT_OUT_OF_MEMORY = 77


class DecodeLimits(BaseModel):
    """What the helper may use.

    Attributes:
        memory_bytes: address space.
        cpu_seconds: processor time.
        wall_seconds: time on the clock; the helper ends itself even if the gateway is gone.
        file_bytes: size of any one file it writes.
    """

    model_config = ConfigDict(frozen=True)

    memory_bytes: int
    cpu_seconds: int
    wall_seconds: float
    file_bytes: int


class DecodeRequest(BaseModel):
    """What to read and what for.

    Attributes:
        limits: applied before anything else.
        client_names: what the client called the files ``image`` and, where there is one, ``mask``.
        read: keyword arguments of ``ReadOptions``.
        training: keyword arguments of ``TrainingOptions``.
        has_gpu: whether the workers have a GPU.
        max_output_px: longest side of what is delivered.
        keep: write the normalised pair (a dry run needs the plan only).
    """

    model_config = ConfigDict(frozen=True)

    limits: DecodeLimits
    client_names: dict[str, str]
    read: dict[str, Any]
    training: dict[str, Any]
    has_gpu: bool
    max_output_px: int
    keep: bool


class ReadNotice(BaseModel):
    """Something the reader or the planner noticed."""

    code: str
    detail: str


class ReadClass(BaseModel):
    """One class as it was read."""

    index: int
    name: str
    area_fraction: float


class ReadSummary(BaseModel):
    """How the pair was read and what training it will be."""

    width: int
    height: int
    is_grey: bool
    encoding: str
    encoding_declared: bool
    classes: list[ReadClass]
    plan: dict[str, Any]
    notices: list[ReadNotice]


class Refusal(BaseModel):
    """Why the pair can't be used: the core's error."""

    code: str
    detail: str
    hint: str


class DecodeAnswer(BaseModel):
    """What the helper leaves behind: exactly one of the two."""

    summary: ReadSummary | None = None
    refusal: Refusal | None = None


def apply_limits(limits: DecodeLimits) -> None:
    """Bound this process for good: neither it nor its libraries can raise the limits again."""
    for kind, value in (
        (resource.RLIMIT_AS, limits.memory_bytes),
        (resource.RLIMIT_CPU, limits.cpu_seconds),
        (resource.RLIMIT_FSIZE, limits.file_bytes),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(kind, (value, value))
    signal.setitimer(signal.ITIMER_REAL, limits.wall_seconds)


def decode(folder: Path, request: DecodeRequest) -> DecodeAnswer:
    """Read, check and plan the pair in ``folder``."""
    # Imported under the limits already: loading NumPy and Pillow counts too.
    from osmis_core.data.plan import TrainingOptions, plan_training
    from osmis_core.data.reader import ReadOptions, check_file_name, read_pair, save_normalised
    from osmis_core.errors import OsmisError

    read = dict(request.read)
    if read.get("class_names") is not None:
        read["class_names"] = tuple(read["class_names"])
    try:
        files = {role: (folder / role).read_bytes() for role in request.client_names}
        for role, content in files.items():
            check_file_name(request.client_names[role], content, role)
        pair = read_pair(files["image"], files.get("mask"), ReadOptions(**read))
        plan = plan_training(
            pair,
            TrainingOptions(**request.training),
            has_gpu=request.has_gpu,
            max_output_px=request.max_output_px,
        )
    except OsmisError as error:
        return DecodeAnswer(refusal=Refusal(code=error.code, detail=error.detail, hint=error.hint))
    if request.keep:
        target = folder / NORMALISED_NAME
        target.mkdir()
        save_normalised(pair, target)
    areas = pair.area_fractions()
    return DecodeAnswer(
        summary=ReadSummary(
            width=pair.width,
            height=pair.height,
            is_grey=pair.is_grey,
            encoding=pair.encoding,
            encoding_declared=pair.encoding_declared,
            classes=[
                ReadClass(index=index, name=name, area_fraction=areas[index])
                for index, name in enumerate(pair.class_names if pair.has_mask else ())
            ],
            plan=plan.to_dict(),
            notices=[
                ReadNotice(code=notice.code, detail=notice.detail)
                for notice in (*pair.notices, *plan.notices)
            ],
        )
    )


def main(folder: Path) -> int:
    """Run one request; the exit status says whether there is an answer."""
    request = DecodeRequest.model_validate_json((folder / REQUEST_NAME).read_bytes())
    apply_limits(request.limits)
    try:
        answer = decode(folder, request)
    except MemoryError:
        return EXIT_OUT_OF_MEMORY
    (folder / ANSWER_NAME).write_text(json.dumps(answer.model_dump(mode="json")))
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
