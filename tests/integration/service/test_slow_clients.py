"""Clients that hold connections and give nothing for them."""

from __future__ import annotations

import json
import resource
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from jobs.settings import Settings
from jobs.state import TaskStore
from tests.integration.service.live import LiveGateway
from tests.integration.service.pairs import pair_files

IDLE = 1_000
HEAD_SECONDS = 3.0
PAUSE_SECONDS = 1.5
UPLOAD_SECONDS = 4.0
SHORT = {
    "ONEPAIR_REQUEST_HEAD_SECONDS": str(HEAD_SECONDS),
    "ONEPAIR_UPLOAD_PAUSE_SECONDS": str(PAUSE_SECONDS),
    "ONEPAIR_UPLOAD_SECONDS": str(UPLOAD_SECONDS),
}
START_OF_UPLOAD = (
    b"POST /jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=b\r\n"
    b"Content-Length: 100000\r\n\r\n"
    b'--b\r\nContent-Disposition: form-data; name="image"; filename="image.png"\r\n\r\n'
)


@pytest.fixture
def impatient(settings: Settings, tmp_path: Path) -> Iterator[LiveGateway]:
    with LiveGateway(settings, tmp_path / "log", SHORT) as gateway:
        yield gateway


def connected(gateway: LiveGateway) -> socket.socket:
    port = int(str(gateway.http.base_url).rsplit(":", 1)[1].rstrip("/"))
    return socket.create_connection(("127.0.0.1", port), timeout=20)


def seconds_until_closed(connection: socket.socket, drip: bytes = b"") -> float:
    """How long it stays open, a byte sent now and then."""
    begun = time.monotonic()
    connection.settimeout(0.3)
    while time.monotonic() - begun < 20:
        try:
            if drip:
                connection.send(drip)
            if not connection.recv(4_096):
                break
        except TimeoutError:
            continue
        except OSError:
            break
    return time.monotonic() - begun


def test_a_thousand_idle_connections_keep_nobody_out_and_are_closed(
    impatient: LiveGateway,
) -> None:
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if allowed < IDLE + 200:
        pytest.skip(f"only {allowed} files may be open here")
    with ExitStack() as stack:
        idle = [stack.enter_context(connected(impatient)) for _ in range(IDLE)]
        begun = time.monotonic()
        assert impatient.http.get("/jobs").status_code == 200
        assert time.monotonic() - begun < 5
        deadline = time.monotonic() + HEAD_SECONDS + 10
        for connection in idle:
            connection.settimeout(max(0.1, deadline - time.monotonic()))
            assert connection.recv(1) == b""


@pytest.mark.parametrize(
    "sent",
    [b"", b"GET /jobs HTTP/1.1\r\n", b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\nGET /jo"],
)
def test_a_request_that_does_not_get_to_its_end_is_not_waited_for(
    impatient: LiveGateway, sent: bytes
) -> None:
    """Nor does a byte of a header now and then prolong it."""
    with connected(impatient) as connection:
        connection.sendall(sent)
        drip = b"X" if sent else b""
        assert HEAD_SECONDS - 1 < seconds_until_closed(connection, drip) < HEAD_SECONDS + 5


def test_what_is_left_of_a_refused_upload_holds_no_connection(impatient: LiveGateway) -> None:
    with connected(impatient) as connection:
        connection.sendall(START_OF_UPLOAD.replace(b"POST /jobs", b"POST /nothing"))
        assert connection.recv(65_536).startswith(b"HTTP/1.1 404 ")
        assert seconds_until_closed(connection, b"x") < HEAD_SECONDS + 5


def test_an_upload_that_stalls_is_refused(
    impatient: LiveGateway, stored: Callable[[], list[str]], task_store: TaskStore
) -> None:
    with connected(impatient) as connection:
        connection.sendall(START_OF_UPLOAD)
        begun = time.monotonic()
        answer = b""
        while more := connection.recv(65_536):
            answer += more
        assert PAUSE_SECONDS - 0.5 < time.monotonic() - begun < PAUSE_SECONDS + 5
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 408 ")
    assert b"connection: close" in head
    assert b"application/problem+json" in head
    problem = json.loads(body)
    assert problem["code"] == "slow_upload"
    assert len(problem["hint"]) > 10
    assert stored() == []
    assert task_store.list_jobs().items == ()


def test_an_upload_that_drips_is_refused_too(impatient: LiveGateway) -> None:
    with connected(impatient) as connection:
        connection.sendall(START_OF_UPLOAD)
        begun = time.monotonic()
        connection.settimeout(0.2)
        answer = b""
        while not answer:
            assert time.monotonic() - begun < 20
            try:
                connection.send(b"x")
                answer = connection.recv(65_536)
            except TimeoutError:
                continue
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert time.monotonic() - begun > UPLOAD_SECONDS - 1


def test_who_only_listens_is_not_cut_off(impatient: LiveGateway) -> None:
    job_id = impatient.http.post("/jobs", files=pair_files()).json()["id"]
    with impatient.http.stream("GET", f"/jobs/{job_id}/events") as stream:
        begun = time.monotonic()
        for _ in stream.iter_text():
            if time.monotonic() - begun > HEAD_SECONDS + UPLOAD_SECONDS:
                break
    assert time.monotonic() - begun > HEAD_SECONDS + UPLOAD_SECONDS


def test_three_hundred_event_streams_keep_nobody_out(impatient: LiveGateway) -> None:
    """Each waits on a connection of its own to Valkey."""
    job_id = impatient.http.post("/jobs", files=pair_files()).json()["id"]
    asked = (
        f"GET /jobs/{job_id}/events HTTP/1.1\r\nHost: localhost\r\n"
        "Accept: text/event-stream\r\n\r\n"
    )
    with ExitStack() as stack:
        streams = [stack.enter_context(connected(impatient)) for _ in range(300)]
        for stream in streams:
            stream.sendall(asked.encode())
        for stream in streams:
            told = b""
            while b"event: status" not in told:
                more = stream.recv(4_096)
                assert more, told
                told += more
            assert told.startswith(b"HTTP/1.1 200 ")
        for _ in range(20):
            assert impatient.http.get(f"/jobs/{job_id}").status_code == 200


def test_beyond_the_limit_of_connections_is_503(settings: Settings, tmp_path: Path) -> None:
    limit = {**SHORT, "ONEPAIR_MAX_CONNECTIONS": "5"}
    with LiveGateway(settings, tmp_path / "log", limit) as gateway, ExitStack() as stack:
        for _ in range(5):
            stack.enter_context(connected(gateway))
        time.sleep(0.5)
        assert gateway.http.get("/jobs").status_code == 503
        time.sleep(HEAD_SECONDS + 1)
        assert gateway.http.get("/jobs").status_code == 200
