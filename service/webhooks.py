"""Tells a job's webhook that the job has ended: signed, and again until it is heard."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import ssl
import time
from typing import Any

import httpx2
import structlog
from starlette.concurrency import run_in_threadpool

from jobs.record import Job, JobWarning, TaskRef
from jobs.settings import Settings
from jobs.state import TaskStore
from service.views import JobView
from service.webhook_target import IsPublic, Resolve, TargetRefusedError, find_target, is_public

LOOK_SECONDS = 2.0
SEND_SECONDS = 15.0
"""For all of it: a receiver that dribbles its answer is cut off."""
ATTEMPTS = 8
FIRST_RETRY_SECONDS = 30.0
"""Then 1, 2, 4 … minutes: the last attempt comes an hour after the first."""
_GONE = 410
_LOG = structlog.get_logger(__name__)


def secret_of(settings: Settings, owner: str) -> str:
    """The owner's own signing secret: who knows it can't speak to another owner's receivers.

    Raises:
        ValueError: there is no ``webhook_secret`` to derive it from.
    """
    if settings.webhook_secret is None:
        raise ValueError("webhooks are signed: they need webhook_secret")
    key = settings.webhook_secret.get_secret_value().encode()
    return hmac.new(key, f"owner {owner}".encode(), hashlib.sha256).hexdigest()


def signature(secret: str, seconds: int, body: bytes) -> str:
    """``OnePair-Signature``: HMAC-SHA-256 of time, a dot and the body.

    The receiver computes it again, and refuses times that are minutes old.
    """
    signed = hmac.new(secret.encode(), f"{seconds}.".encode() + body, hashlib.sha256)
    return f"t={seconds},v1={signed.hexdigest()}"


class Webhooks:
    """Delivers what is due.

    Args:
        settings: with ``webhook_secret``, from which each owner's is derived.
        tasks: whose outbox it is.
        resolve: names to addresses; the system's if None.
        allowed: which addresses may be sent to.
        verify: how certificates are checked; the system's authorities if None.
    """

    def __init__(
        self,
        settings: Settings,
        tasks: TaskStore,
        *,
        resolve: Resolve | None = None,
        allowed: IsPublic = is_public,
        verify: ssl.SSLContext | None = None,
    ) -> None:
        self._settings, self._tasks = settings, tasks
        self._resolve, self._allowed = resolve, allowed
        self._verify = verify or ssl.create_default_context()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                await self.round()
            except Exception as error:  # noqa: BLE001 (the loop must outlive whatever it meets)
                _LOG.warning("webhooks_not_looked_at", error=repr(error))
            await asyncio.sleep(LOOK_SECONDS)

    async def round(self) -> int:
        """Tells all that is due now; how many there were.

        Raises:
            JobsError: the store does not answer.
        """
        lease_seconds = 2 * SEND_SECONDS
        due = await run_in_threadpool(lambda: self._tasks.hooks_due(lease_seconds=lease_seconds))
        told = await asyncio.gather(
            *(self._tell(ref, tries) for ref, tries in due), return_exceptions=True
        )
        for (ref, _), trouble in zip(due, told, strict=True):
            if isinstance(trouble, Exception):
                _LOG.warning("webhook_not_told", job_id=ref.job_id, error=repr(trouble))
        return len(due)

    async def _tell(self, ref: TaskRef, tries: int) -> None:
        job = await run_in_threadpool(self._tasks.get_job, ref.job_id)
        if job is None or job.request.webhook_url is None:
            return
        problem: str | None = "no attempt was seen to its end"
        if tries <= ATTEMPTS:
            problem = await self._send(job, job.request.webhook_url)
        again: float | None = None
        warning: JobWarning | None = None
        if problem is not None:
            # the address and its answer are the caller's own; nothing of ours is in them
            _LOG.info("webhook_not_heard", job_id=job.id, attempt=tries, problem=problem)
            again = FIRST_RETRY_SECONDS * 2 ** (tries - 1)
        if problem is not None and (tries >= ATTEMPTS or problem == str(_GONE)):
            again = None
            warning = JobWarning(
                code="webhook_failed",
                detail=f"The webhook was not heard in {tries} attempts; the last: {problem}.",
                hint="Look at the job with GET; a receiver answers 2xx within 15 s.",
            )
        await run_in_threadpool(
            lambda: self._tasks.hook_told(ref, again_seconds=again, warning=warning)
        )

    async def _send(self, job: Job, url: str) -> str | None:
        """None where it was heard; else why not, in a word or two."""
        body = json.dumps(_message(job)).encode()
        try:
            async with asyncio.timeout(SEND_SECONDS):
                target = await find_target(url, resolve=self._resolve, allowed=self._allowed)
                headers = {
                    "Host": target.authority,
                    "Content-Type": "application/json",
                    "User-Agent": "OnePair-Webhook",
                    "OnePair-Delivery": f"{job.id}-{job.status}",
                    "OnePair-Signature": signature(
                        secret_of(self._settings, job.owner), int(time.time()), body
                    ),
                }
                # no environment: a proxy of ours would resolve the name once more
                async with (
                    httpx2.AsyncClient(verify=self._verify, trust_env=False) as client,
                    client.stream(
                        "POST",
                        target.url,
                        content=body,
                        headers=headers,
                        extensions={"sni_hostname": target.host},
                    ) as answer,
                ):
                    return None if answer.is_success else str(answer.status_code)
        except TargetRefusedError as error:
            return error.code
        except TimeoutError:
            return "no answer in time"
        except (httpx2.HTTPError, OSError, ValueError) as error:
            return type(error).__name__


def _message(job: Job) -> dict[str, Any]:
    return {"type": f"job.{job.status}", "job": JobView.of(job).model_dump(mode="json")}
