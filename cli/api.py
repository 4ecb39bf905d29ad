"""What the command line says to a service over HTTP, and how refusals become messages."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2

WRONG_INPUT_STATUSES = frozenset({400, 404, 409, 410, 413, 415, 422})
CHUNK_BYTES = 1 << 20


class ServiceRefusedError(Exception):
    """The service answered with a problem.

    Attributes:
        detail: what is wrong.
        hint: what to do about it; may be empty.
        is_input: the request was at fault, not the service.
    """

    def __init__(self, detail: str, *, hint: str = "", is_input: bool = False) -> None:
        super().__init__(detail)
        self.detail = detail
        self.hint = hint
        self.is_input = is_input


class Service:
    """A client of one OnePair service.

    Args:
        url: the service's base URL.
        api_key: sent as a bearer token where given.
    """

    def __init__(self, url: str, *, api_key: str | None = None) -> None:
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self.url = url.rstrip("/")
        self._client = httpx2.Client(
            base_url=self.url, headers=headers, timeout=httpx2.Timeout(60.0, connect=5.0)
        )

    def close(self) -> None:
        """Closes the connections."""
        self._client.close()

    def create_job(self, image: Path, mask: Path | None, fields: dict[str, str]) -> dict[str, Any]:
        """Submits a pair, or an image alone.

        Sent with an idempotency key, so a retry makes no second job.

        Raises:
            ServiceRefusedError: the service refuses the pair, or can't be reached.
        """
        paths = {"image": image} if mask is None else {"image": image, "mask": mask}
        files = {role: (path.name, path.read_bytes()) for role, path in paths.items()}
        headers = {"Idempotency-Key": uuid.uuid4().hex}
        return self._json("POST", "/jobs", data=fields, files=files, headers=headers)

    def job(self, job_id: str) -> dict[str, Any]:
        """The job as it is now."""
        return self._json("GET", f"/jobs/{job_id}")

    def cancel(self, job_id: str) -> dict[str, Any]:
        """Asks for the job's end."""
        return self._json("POST", f"/jobs/{job_id}/cancel")

    def samples(self, job_id: str, *, n: int, seed: int) -> tuple[bool, dict[str, Any]]:
        """A sample set, started if it does not exist yet.

        Returns:
            Whether it is ready, and the set.
        """
        response = self._send("GET", f"/jobs/{job_id}/samples", params={"n": n, "seed": seed})
        body: dict[str, Any] = response.json()
        return response.status_code == httpx2.codes.OK, body

    def download(
        self, url: str, target: Path, *, sha256: str, on_bytes: Callable[[int], None]
    ) -> None:
        """Streams an archive to ``target`` and checks its hash.

        Raises:
            ServiceRefusedError: the bytes aren't those the service promised, or it went away.
        """
        digest = hashlib.sha256()
        partial = target.with_suffix(".zip.part")
        try:
            with (
                self._client.stream("GET", url, follow_redirects=True) as response,
                partial.open("wb") as file,
            ):
                if response.is_error:
                    response.read()
                    raise _refusal(response)
                for chunk in response.iter_bytes(CHUNK_BYTES):
                    digest.update(chunk)
                    file.write(chunk)
                    on_bytes(len(chunk))
        except httpx2.TransportError as error:
            raise self._unreachable() from error
        if digest.hexdigest() != sha256:
            partial.unlink()
            raise ServiceRefusedError(
                "The archive's SHA-256 is not the one the service promised.",
                hint="The download was damaged on its way; try again.",
            )
        partial.replace(target)

    def _json(self, method: str, path: str, **request: Any) -> dict[str, Any]:
        body: dict[str, Any] = self._send(method, path, **request).json()
        return body

    def _send(self, method: str, path: str, **request: Any) -> httpx2.Response:
        try:
            response = self._client.request(method, path, **request)
        except httpx2.TransportError as error:
            raise self._unreachable() from error
        if response.is_error:
            raise _refusal(response)
        return response

    def _unreachable(self) -> ServiceRefusedError:
        return ServiceRefusedError(
            f"No answer from {self.url}.",
            hint="Start one with `onepair serve`, or leave out --url to start one for this run.",
        )


def _refusal(response: httpx2.Response) -> ServiceRefusedError:
    """A problem+json answer (or whatever a proxy said instead) as an error."""
    try:
        problem = response.json()
    except json.JSONDecodeError:
        problem = {}
    if not isinstance(problem, dict):
        problem = {}
    detail = problem.get("detail") or problem.get("title")
    fields = "; ".join(
        f"{error.get('field', error.get('loc', ''))}: {error.get('detail', error.get('msg', ''))}"
        for error in problem.get("errors", [])
    )
    message = detail or f"The service answered {response.status_code}."
    return ServiceRefusedError(
        f"{message} ({fields})" if fields else message,
        hint=problem.get("hint", ""),
        is_input=response.status_code in WRONG_INPUT_STATUSES,
    )
