"""From an uploaded pair to a durable job: nothing half-stored, nothing accepted too early."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import structlog
from starlette.concurrency import run_in_threadpool

from jobs.errors import JobsError, StoreAway
from jobs.files import file_sha256
from jobs.keys import input_key, new_job_id, request_fingerprint, task_prefix
from jobs.record import Job, JobInput, TaskRef
from jobs.state import Answer, CreateAnswer, NewJob
from jobs.tracing import current_trace_context
from service.context import Services
from service.decoding import NORMALISED_NAME, DecodeRequest, ReadSummary
from service.forms import JobForm
from service.problems import FieldError, ProblemError
from service.request_id import current_request_id
from service.uploads import FileRole, ReceivedFile, is_given, receive
from service.views import class_infos, warnings_of
from service.webhook_target import TargetRefusedError, find_target

_LOG = structlog.get_logger(__name__)
_INPUTS = {
    "image.png": "image/png",
    "mask.png": "image/png",
    "pair.json": "application/json",
}


@dataclass(frozen=True, kw_only=True)
class Submitted:
    """An accepted job; ``replayed``: the Idempotency-Key had named it before."""

    job: Job
    replayed: bool


async def read_only(services: Services, form: JobForm) -> ReadSummary:
    """Read and plan a pair, store nothing."""
    await _check_webhook(services, form)
    with TemporaryDirectory(prefix="onepair-") as name:
        folder = Path(name)
        return await _read(services, form, folder, await _receive(form, folder), keep=False)


async def submit(
    services: Services, form: JobForm, idempotency_key: str | None, *, owner: str
) -> Submitted:
    """Read a pair, store its inputs, then create its job for the owner.

    Raises:
        ProblemError: the pair's refusal, or the state machine's.
        StoreAway: nothing was accepted.
        StoreFull: nothing was accepted.
    """
    trace_context = current_trace_context()
    # Before any work: a job that can't be recorded needs no decoding.
    await run_in_threadpool(services.tasks.ping)
    services.require_objects()
    await _check_webhook(services, form)
    with TemporaryDirectory(prefix="onepair-") as name:
        folder = Path(name)
        received = await _receive(form, folder)
        read = await _read(services, form, folder, received, keep=True)
        return await run_in_threadpool(
            _record,
            services,
            folder / NORMALISED_NAME,
            lambda job_id, stored: NewJob(
                id=job_id,
                request=form.to_request(),
                input=stored,
                classes=tuple(class_infos(read)),
                plan=read.plan,
                owner=owner,
                warnings=tuple(warnings_of(read.notices)),
                idempotency_key=idempotency_key,
                request_id=current_request_id(),
                trace_context=trace_context,
                fingerprint=_fingerprint(form, received) if idempotency_key else None,
            ),
        )


async def _check_webhook(services: Services, form: JobForm) -> None:
    """Refuses now what could not be told later."""
    if form.webhook_url is None:
        return
    code, message = "webhooks_off", "follow GET /jobs/{id}/events: no webhooks are sent here"
    if services.settings.webhooks:
        try:
            await find_target(form.webhook_url)
        except TargetRefusedError as error:
            code, message = error.code, str(error)
        else:
            return
    raise ProblemError(
        "invalid_request",
        "1 field is not valid: webhook_url.",
        errors=[FieldError(field="webhook_url", code=code, message=message)],
    )


async def _receive(form: JobForm, folder: Path) -> dict[FileRole, ReceivedFile]:
    if form.mask_supervision == "none":
        _refuse_masks(form)
        return {"image": await receive(form.image, "image", folder)}
    return {
        "image": await receive(form.image, "image", folder),
        "mask": await receive(form.mask, "mask", folder),
    }


def _refuse_masks(form: JobForm) -> None:
    """What would be ignored is refused: whoever sends a mask expects masks."""
    unused = ["mask"] if is_given(form.mask) else []
    unused += form.mask_fields()
    if unused:
        raise ProblemError(
            "mask_not_used",
            f"mask_supervision=none trains on the image alone, but there is {', '.join(unused)}.",
        )


async def _read(
    services: Services,
    form: JobForm,
    folder: Path,
    received: dict[FileRole, ReceivedFile],
    *,
    keep: bool,
) -> ReadSummary:
    options = services.decoder.options
    request = DecodeRequest(
        limits=options.limits(),
        client_names={role: file.client_name for role, file in received.items()},
        read={
            "class_names": form.classes,
            "mask_encoding": form.mask_encoding,
            "ignore_index": form.ignore_index,
            "max_pixels": options.max_pixels,
        },
        training=form.training_options(),
        has_gpu=services.has_gpu,
        max_output_px=services.settings.max_output_px,
        keep=keep,
    )
    return await services.decoder.read(folder, request)


def _fingerprint(form: JobForm, received: dict[FileRole, ReceivedFile]) -> str:
    fields = form.model_dump(mode="json", exclude={"image", "mask", "dry_run"})
    mask = received.get("mask")
    return request_fingerprint(received["image"].sha256, mask.sha256 if mask else None, fields)


def _record(
    services: Services, folder: Path, describe: Callable[[str, JobInput], NewJob]
) -> Submitted:
    """Inputs first, record second: a job that exists always has its inputs."""
    job_id = new_job_id()
    try:
        new = describe(job_id, _store_inputs(services, job_id, folder))
    except Exception:
        _remove_inputs(services, job_id)
        raise
    answer = _create(services, new)
    if answer.answer is not Answer.CREATED:
        _remove_inputs(services, job_id)
    if answer.job is None:
        raise _refusal(answer.answer)
    if answer.answer is Answer.CREATED:
        _LOG.info("job_accepted", job=answer.job.id)
        services.queue.ring(answer.job.ref)
    return Submitted(job=answer.job, replayed=answer.answer is Answer.REPLAYED)


def _store_inputs(services: Services, job_id: str, folder: Path) -> JobInput:
    for name, content_type in _INPUTS.items():
        services.objects.put_file(input_key(job_id, name), folder / name, content_type=content_type)
    return JobInput(
        image_key=input_key(job_id, "image.png"),
        mask_key=input_key(job_id, "mask.png"),
        pair_key=input_key(job_id, "pair.json"),
        image_sha256=file_sha256(folder / "image.png"),
        mask_sha256=file_sha256(folder / "mask.png"),
        size_bytes=sum((folder / name).stat().st_size for name in _INPUTS),
    )


def _create(services: Services, new: NewJob) -> CreateAnswer:
    try:
        return services.tasks.create_job(new)
    except JobsError:
        # The answer may be lost although the record is there. Only where it surely isn't may the
        # inputs go; where Valkey stays silent, the sweeper removes them unless there is a job.
        try:
            job = services.tasks.get_job(new.id)
        except StoreAway:
            _LOG.warning("creation_unclear", job_id=new.id)
            raise
        if job is not None:
            return CreateAnswer(answer=Answer.CREATED, job=job)
        _remove_inputs(services, new.id)
        raise


def _remove_inputs(services: Services, job_id: str) -> None:
    try:
        services.objects.delete_prefix(task_prefix(TaskRef(job_id)))
    except JobsError as error:
        # The refusal itself matters more to the caller; the sweeper takes what is left.
        _LOG.warning("inputs_left", job_id=job_id, error=repr(error))


def _refusal(answer: Answer) -> ProblemError:
    refusals = {
        Answer.CONFLICT: ProblemError("idempotency_conflict"),
        Answer.GONE: ProblemError("gone", "The job of this Idempotency-Key was deleted."),
        Answer.TOO_MANY: ProblemError("too_many_jobs"),
        Answer.CROWDED: ProblemError("too_many_kept_jobs"),
        Answer.TOO_MUCH: ProblemError("storage_used_up"),
    }
    return refusals.get(answer, ProblemError("internal_error"))
