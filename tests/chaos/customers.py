"""Who uses the service meanwhile: each with one job, from the upload to the checked archives."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import threading
import time
import uuid
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2

from tests.customer import COINS

AGAIN_SECONDS = 0.5
ENDS = frozenset({"succeeded", "failed", "cancelled"})
IMPATIENCE_SECONDS = 20.0
"""After so long a customer drops an event stream and takes it up again."""


@dataclass
class Story:
    """What one customer has seen.

    Attributes:
        job_id: of the job, once it was accepted.
        events: of the job, in the order in which they came, over all connections.
        reconnections: how often the stream was taken up again.
        refusals: answers that asked to come again: 5xx and 429.
        sets: the sample sets as they were shown when they were downloaded.
        complaints: promises broken.
        finished: all of it has happened.
    """

    job_id: str = ""
    events: list[dict[str, Any]] = field(default_factory=list)
    reconnections: int = 0
    refusals: int = 0
    sets: list[dict[str, Any]] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    finished: bool = False


class Customer(threading.Thread):
    """Submits with an idempotency key, follows the events, asks for a second set, downloads both.

    Args:
        url: of the gateway.
        api_key: sent with every request.
        fields: of the job.
        second_set: query of ``GET /samples`` after the job's end.
    """

    def __init__(
        self, url: str, api_key: str, fields: dict[str, str], second_set: dict[str, str]
    ) -> None:
        super().__init__(daemon=True)
        self.story = Story()
        self._fields, self._second_set = fields, second_set
        self._key = uuid.uuid4().hex
        self._http = httpx2.Client(
            base_url=url,
            headers={"Authorization": f"Bearer {api_key}"},
            timeout=60,
            trust_env=False,
        )
        # an archive comes from the object store, which must not be shown the key
        self._anybody = httpx2.Client(timeout=60, trust_env=False)
        self._gone = threading.Event()

    def leave(self) -> None:
        """Ends it at its next request."""
        self._gone.set()

    def run(self) -> None:
        """The whole story."""
        with self._http, self._anybody:
            self._live()

    def _live(self) -> None:
        try:
            self.story.job_id = self._submit()
            if self._submit() != self.story.job_id:
                self.story.complaints.append("the same idempotency key gave another job")
            self._follow()
            if self.story.events[-1]["data"] != {"status": "succeeded"}:
                return
            job = self._ask("GET", f"/jobs/{self.story.job_id}").json()
            self._download(self._ask("GET", job["links"]["sample_set"]).json())
            self._download(self._second())
            self.story.finished = True
        except Exception as error:  # noqa: BLE001 - told to whoever looks at the story
            self.story.complaints.append(f"{type(error).__name__}: {error}")

    def _ask(self, method: str, path: str, **request: Any) -> httpx2.Response:
        """Comes again while the service is away or says so; any other refusal is broken trust."""
        while not self._gone.is_set():
            try:
                response = self._http.request(method, path, **request)
            except httpx2.TransportError:
                time.sleep(AGAIN_SECONDS)
                continue
            if response.status_code < 500 and response.status_code != 429:
                assert not response.is_error, f"{method} {path}: {response.text}"
                return response
            assert response.headers["content-type"] == "application/problem+json", response.text
            assert response.status_code != 500, response.text
            self.story.refusals += 1
            time.sleep(AGAIN_SECONDS)
        raise InterruptedError("time is over")

    def _submit(self) -> str:
        files = {
            name: (f"{name}.png", (COINS / f"{name}.png").read_bytes())
            for name in ("image", "mask")
        }
        headers = {"Idempotency-Key": self._key}
        response = self._ask("POST", "/jobs", data=self._fields, files=files, headers=headers)
        return str(response.json()["id"])

    def _follow(self) -> None:
        while not self._gone.is_set():
            try:
                for event in self._stream():
                    self.story.events.append(event)
                    if event["type"] == "reset":
                        self.story.complaints.append(f"missed events: {event}")
                    if event["type"] == "status" and event["data"]["status"] in ENDS:
                        return
            except httpx2.TransportError:
                pass
            self.story.reconnections += 1
            time.sleep(AGAIN_SECONDS)
        raise InterruptedError("time is over")

    def _stream(self) -> Iterator[dict[str, Any]]:
        headers = {"Accept": "text/event-stream"}
        if self.story.events:
            headers["Last-Event-ID"] = self.story.events[-1]["id"]
        path = f"/jobs/{self.story.job_id}/events"
        until = time.monotonic() + IMPATIENCE_SECONDS
        with self._http.stream("GET", path, headers=headers) as response:
            if response.is_error:
                self.story.refusals += 1
                assert response.status_code in {429, 503}, response.status_code
                return
            fields: dict[str, str] = {}
            for line in response.iter_lines():
                if line and not line.startswith(":"):
                    name, _, value = line.partition(": ")
                    fields[name] = value
                elif not line and "event" in fields:
                    data = json.loads(fields["data"])
                    yield {"id": fields["id"], "type": fields["event"], "data": data}
                    fields = {}
                if time.monotonic() > until:
                    return

    def _second(self) -> dict[str, Any]:
        while True:
            path = f"/jobs/{self.story.job_id}/samples"
            response = self._ask("GET", path, params=self._second_set)
            if response.status_code == 200:
                return dict(response.json())
            time.sleep(1.0)

    def _download(self, shown: dict[str, Any]) -> None:
        """Checks the archive's hash, its length and every file in it."""
        self.story.sets.append(shown)
        archive = self._archive(shown["download"]["url"])
        if hashlib.sha256(archive).hexdigest() != shown["download"]["sha256"]:
            self.story.complaints.append(f"set {shown['id']}: not the bytes that were promised")
            return
        with zipfile.ZipFile(io.BytesIO(archive)) as opened:
            broken = opened.testzip()
            pairs = [name for name in opened.namelist() if Path(name).parent.name == "images"]
        if broken or len(pairs) != shown["kept"]:
            self.story.complaints.append(f"set {shown['id']}: {broken=}, {len(pairs)} images")

    def _archive(self, path: str) -> bytes:
        while True:
            target = self._ask("GET", path, follow_redirects=False).headers["location"]
            with contextlib.suppress(httpx2.TransportError):
                response = self._anybody.get(target)
                if response.status_code < 500:
                    assert response.status_code == 200, f"{response.status_code} {response.text}"
                    return response.content
            if self._gone.is_set():
                raise InterruptedError("time is over")
            time.sleep(AGAIN_SECONDS)
