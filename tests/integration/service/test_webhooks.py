"""Webhooks: a real TLS receiver is told, and nothing but a public address ever is."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import redis
from pydantic import SecretStr, ValidationError

from jobs.api_keys import ApiKeyFile
from jobs.objects import FolderStore
from jobs.record import Job, JobRequest, TaskRef
from jobs.settings import Settings
from jobs.state import TaskStore
from service import webhook_target, webhooks
from service.app import create_app
from service.webhook_target import TargetRefusedError, find_target, is_public
from service.webhooks import ATTEMPTS, Webhooks, secret_of
from tests.builders import new_job
from tests.integration.service.client import TestClient
from tests.integration.service.pairs import pair_files
from tests.integration.service.refusals import assert_refused
from tests.integration.service.small_worker import SmallWorker

TLS = Path(__file__).parent / "tls"
HOST = "hooks.example.test"
SECRET = "a secret of the service's own"


class Receiver:
    """An HTTPS server that writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[dict[str, str], bytes]] = []
        self.answer: Callable[[BaseHTTPRequestHandler], None] = lambda request: _reply(request, 204)
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                receiver.told.append((headers | {"path": self.path}, body))
                receiver.answer(self)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(TLS / "cert.pem", TLS / "key.pem")
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


def _reply(request: BaseHTTPRequestHandler, status: int, **headers: str) -> None:
    request.send_response(status)
    for name, value in headers.items():
        request.send_header(name, value)
    request.end_headers()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.server.shutdown()
    receiver.server.server_close()


@pytest.fixture
def open_settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"webhooks": True, "webhook_secret": SecretStr(SECRET)})


async def _here(_host: str, _port: int) -> list[str]:
    return ["127.0.0.1"]


@pytest.fixture
def hooks(open_settings: Settings, task_store: TaskStore) -> Webhooks:
    """Sends to this machine, which it would refuse otherwise, under the name of the certificate."""
    context = ssl.create_default_context(cafile=str(TLS / "cert.pem"))
    return Webhooks(
        open_settings, task_store, resolve=_here, allowed=lambda _: True, verify=context
    )


@pytest.fixture
def ended(
    task_store: TaskStore, objects: FolderStore, receiver: Receiver
) -> Callable[..., TaskRef]:
    def end(url: str | None = None) -> TaskRef:
        url = url or f"https://{HOST}:{receiver.port}/hook?a=1"
        new = new_job(request=JobRequest(webhook_url=url))
        task_store.create_job(new)
        SmallWorker(task_store, objects).train(new.id)
        return TaskRef(new.id)

    return end


def _round(hooks: Webhooks) -> int:
    return asyncio.run(hooks.round())


def _due_now(client: redis.Redis, store: TaskStore) -> None:
    for ref in client.zrange(f"{store.keys.tag}:hooks", 0, -1):
        client.zadd(f"{store.keys.tag}:hooks", {ref: 1})


def _job(store: TaskStore, ref: TaskRef) -> Job:
    job = store.get_job(ref.job_id)
    assert job is not None
    return job


def test_the_receiver_is_told_once_and_can_check_who_says_it(
    hooks: Webhooks,
    ended: Callable[..., TaskRef],
    receiver: Receiver,
    open_settings: Settings,
) -> None:
    ref = ended()
    assert (_round(hooks), _round(hooks)) == (1, 0)
    ((headers, body),) = receiver.told
    message = json.loads(body)
    assert message["type"] == "job.succeeded"
    assert message["job"]["id"] == ref.job_id
    assert "request" not in message["job"]
    assert headers["host"] == f"{HOST}:{receiver.port}"
    assert headers["path"] == "/hook?a=1"
    seconds, signed = (part.split("=")[1] for part in headers["onepair-signature"].split(","))
    assert abs(int(seconds) - time.time()) < 60
    key = secret_of(open_settings, "").encode()
    assert signed == hmac.new(key, f"{seconds}.".encode() + body, hashlib.sha256).hexdigest()


def test_jobs_without_a_url_tell_nobody(
    hooks: Webhooks, task_store: TaskStore, objects: FolderStore
) -> None:
    worker = SmallWorker(task_store, objects)
    worker.train(worker.accepted())
    assert _round(hooks) == 0


@pytest.mark.parametrize("how", ["cancelled", "deleted"])
def test_other_ends(how: str, hooks: Webhooks, task_store: TaskStore, receiver: Receiver) -> None:
    new = new_job(request=JobRequest(webhook_url=f"https://{HOST}:{receiver.port}/"))
    task_store.create_job(new)
    task_store.request_cancel(TaskRef(new.id))
    if how == "deleted":
        task_store.delete(TaskRef(new.id))
    _round(hooks)
    assert [json.loads(body)["type"] for _, body in receiver.told] == (
        ["job.cancelled"] if how == "cancelled" else []
    )


def test_an_error_is_tried_again_later_and_given_up_at_last(
    hooks: Webhooks,
    ended: Callable[..., TaskRef],
    receiver: Receiver,
    client: redis.Redis,
    task_store: TaskStore,
) -> None:
    receiver.answer = lambda request: _reply(request, 503)
    ref = ended()
    for attempt in range(1, ATTEMPTS + 1):
        assert (_round(hooks), _round(hooks)) == (1, 0)
        assert len(receiver.told) == attempt
        _due_now(client, task_store)
    assert _round(hooks) == 0
    (warning,) = _job(task_store, ref).warnings
    assert warning.code == "webhook_failed"
    assert "503" in warning.detail


def test_a_receiver_that_is_gone_is_not_asked_again(
    hooks: Webhooks,
    ended: Callable[..., TaskRef],
    receiver: Receiver,
    client: redis.Redis,
    task_store: TaskStore,
) -> None:
    receiver.answer = lambda request: _reply(request, 410)
    ended()
    assert _round(hooks) == 1
    _due_now(client, task_store)
    assert _round(hooks) == 0


def test_redirects_are_not_followed(
    hooks: Webhooks, ended: Callable[..., TaskRef], receiver: Receiver
) -> None:
    receiver.answer = lambda request: _reply(request, 307, Location="/admin")
    ended()
    _round(hooks)
    assert len(receiver.told) == 1


def _dribble(request: BaseHTTPRequestHandler) -> None:
    request.wfile.write(b"HTTP/1.1 200 OK\r\n")
    for number in range(100):
        request.wfile.write(f"X-{number}: 1\r\n".encode())
        request.wfile.flush()
        time.sleep(0.1)


def test_a_receiver_that_dribbles_is_cut_off(
    hooks: Webhooks,
    ended: Callable[..., TaskRef],
    receiver: Receiver,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(webhooks, "SEND_SECONDS", 1.0)
    receiver.answer = _dribble
    ended()
    began = time.monotonic()
    _round(hooks)
    assert time.monotonic() - began < 5


def test_an_endless_body_is_not_read(
    hooks: Webhooks, ended: Callable[..., TaskRef], receiver: Receiver
) -> None:
    def endless(request: BaseHTTPRequestHandler) -> None:
        _reply(request, 200)
        try:
            while True:
                request.wfile.write(b"x" * 65_536)
        except OSError:
            pass

    receiver.answer = endless
    ended()
    began = time.monotonic()
    assert (_round(hooks), _round(hooks)) == (1, 0)
    assert time.monotonic() - began < 10


def test_a_certificate_of_another_name_is_refused(
    open_settings: Settings,
    task_store: TaskStore,
    ended: Callable[..., TaskRef],
    receiver: Receiver,
) -> None:
    context = ssl.create_default_context(cafile=str(TLS / "cert.pem"))
    other = Webhooks(
        open_settings, task_store, resolve=_here, allowed=lambda _: True, verify=context
    )
    ended(f"https://other.example.test:{receiver.port}/")
    _round(other)
    assert receiver.told == []


def test_what_a_name_resolves_to_when_it_is_sent_to_decides(
    open_settings: Settings,
    task_store: TaskStore,
    ended: Callable[..., TaskRef],
    receiver: Receiver,
) -> None:
    """A name that was public when the job came may point inside when it ends."""
    context = ssl.create_default_context(cafile=str(TLS / "cert.pem"))
    careful = Webhooks(open_settings, task_store, resolve=_here, verify=context)
    ended()
    assert _round(careful) == 1
    assert receiver.told == []
    careless = Webhooks(
        open_settings, task_store, resolve=_here, verify=context, allowed=lambda _: True
    )
    ended()
    assert _round(careless) == 1
    assert len(receiver.told) == 1


INSIDE = [
    *("127.0.0.1", "127.8.9.1", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1"),
    *("169.254.169.254", "100.64.0.1", "192.0.2.1", "224.0.0.1", "255.255.255.255"),
    *("::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "ff02::1", "::ffff:127.0.0.1"),
    *("64:ff9b:1::7f00:1", "fec0::1", "::127.0.0.1", "::ffff:0:127.0.0.1"),
    *("::ffff:10.0.0.1", "2002:7f00:1::", "64:ff9b::7f00:1", "64:ff9b::a00:1", "2001:db8::1"),
]


@pytest.mark.parametrize("address", INSIDE)
def test_addresses_that_are_not_the_internets(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "64:ff9b::808:808"])
def test_addresses_that_are(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("inside", ["127.0.0.1", "10.0.0.7", "169.254.169.254", "fe80::1"])
def test_one_address_inside_is_enough_to_refuse(inside: str) -> None:
    async def resolve(_host: str, _port: int) -> list[str]:
        return ["8.8.8.8", inside]

    with pytest.raises(TargetRefusedError) as caught:
        asyncio.run(find_target("https://example.org/", resolve=resolve))
    assert caught.value.code == "not_public"


def test_a_target_is_the_address_that_was_looked_at() -> None:
    async def resolve(_host: str, _port: int) -> list[str]:
        return ["2606:4700::1111"]

    target = asyncio.run(find_target("https://example.org:8443/a?b=c", resolve=resolve))
    assert target.url == "https://[2606:4700::1111]:8443/a?b=c"
    assert (target.host, target.authority) == ("example.org", "example.org:8443")


WRONG_URLS = [
    *("http://example.org/", "ftp://example.org/", "https://", "https:///x", "example.org"),
    *("https://user:pass@example.org/", "https://example.org:99999/", "https://ex ample.org/"),
    *("https://example.org/#x", "https://example.org/\n", "https://[::1/", "https://ä.org/"),
    "file:///etc/passwd",
]


@pytest.mark.parametrize("url", WRONG_URLS)
def test_urls_that_no_webhook_has(url: str) -> None:
    with pytest.raises(TargetRefusedError) as caught:
        asyncio.run(find_target(url, resolve=_here))
    assert caught.value.code == "bad_url"


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("https://localhost/hook", "not_public"),
        ("https://127.0.0.1/hook", "not_public"),
        ("https://2130706433/hook", "not_public"),
        ("https://[::ffff:10.0.0.1]/hook", "not_public"),
        ("https://nowhere.invalid/hook", "unresolvable"),
        ("http://example.org/hook", "bad_url"),
    ],
)
def test_a_job_with_a_url_that_is_none_is_refused(
    open_settings: Settings, url: str, code: str, stored: Callable[[], list[str]]
) -> None:
    with TestClient(create_app(open_settings)) as gateway:
        for dry_run in ("true", "false"):
            data = {"webhook_url": url, "dry_run": dry_run}
            answer = gateway.post("/jobs", files=pair_files(), data=data)
            problem = assert_refused(answer, 422, "invalid_request")
            (error,) = problem["errors"]
            assert (error["field"], error["code"]) == ("webhook_url", code)
    assert stored() == []


def test_a_job_with_a_url_is_taken_where_webhooks_are_on(
    open_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def resolve(_host: str, _port: int) -> list[str]:
        return ["8.8.8.8"]

    monkeypatch.setattr(webhook_target, "_resolve", resolve)
    with TestClient(create_app(open_settings)) as gateway:
        data = {"webhook_url": "https://example.org/hook"}
        assert gateway.post("/jobs", files=pair_files(), data=data).status_code == 202


@pytest.mark.parametrize("secret", [None, "", "short"])
def test_webhooks_are_never_unsigned(tmp_path: Path, secret: str | None) -> None:
    with pytest.raises(ValidationError, match="webhook_secret"):
        Settings.model_validate({"data_dir": tmp_path, "webhooks": True, "webhook_secret": secret})


def test_each_key_has_a_signing_secret_of_its_own(open_settings: Settings) -> None:
    keys = ApiKeyFile(open_settings.api_keys_path)
    with TestClient(create_app(open_settings)) as gateway:
        told = []
        for name in ("one", "two"):
            headers = {"Authorization": f"Bearer {keys.create(name)[1]}"}
            told.append(gateway.get("/webhook-secret", headers=headers).json()["secret"])
        assert told == [secret_of(open_settings, key.id) for key in keys.read()]
        assert len({*told, SECRET}) == 3
        assert_refused(gateway.get("/webhook-secret"), 401, "no_api_key")


def test_without_webhooks_there_is_no_secret(gateway: TestClient) -> None:
    assert_refused(gateway.get("/webhook-secret"), 404, "webhooks_off")


def test_an_attempt_whose_end_was_not_seen_counts(
    hooks: Webhooks,
    ended: Callable[..., TaskRef],
    receiver: Receiver,
    client: redis.Redis,
    task_store: TaskStore,
) -> None:
    """A gateway that dies while it tells has told, perhaps: not for ever, though."""
    ref = ended()
    for _ in range(ATTEMPTS):
        assert task_store.hooks_due(lease_seconds=60)
        _due_now(client, task_store)
    assert _round(hooks) == 1
    assert receiver.told == []
    assert [w.code for w in _job(task_store, ref).warnings] == ["webhook_failed"]
    _due_now(client, task_store)
    assert _round(hooks) == 0
