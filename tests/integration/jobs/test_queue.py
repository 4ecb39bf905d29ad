"""The doorbell, read back by a real Celery consumer's means."""

from __future__ import annotations

import base64
import json
import ssl

import redis
from celery import Celery
from kombu import Connection

from jobs.housekeeping import run_round
from jobs.keys import new_job_id
from jobs.objects import FolderStore
from jobs.queue import RUN_JOB, RUN_SET, Queue, celery_config, celery_url
from jobs.record import Kind, TaskRef
from jobs.settings import Settings
from jobs.state import TaskStore
from jobs.valkey import EmbeddedValkey
from tests.builders import new_job

WAITING = 1_000
JOB, SET = TaskRef("1" * 32), TaskRef("1" * 32, "2" * 64)


def test_a_message_carries_one_address(
    queue: Queue, client: redis.Redis, settings: Settings
) -> None:
    assert queue.ring(JOB)
    assert queue.ring(SET)
    assert (queue.waiting(Kind.JOB), queue.waiting(Kind.SET)) == (1, 1)
    for name, task, ref in (("jobs", RUN_JOB, JOB), ("sets", RUN_SET, SET)):
        (raw,) = client.lrange(f"cel:{settings.namespace}:{name}", 0, -1)  # type: ignore[misc]
        message = json.loads(raw)
        arguments, keywords, _ = json.loads(base64.b64decode(message["body"]))
        assert message["headers"]["task"] == task
        assert (TaskRef.parse(arguments[0]), arguments[1:], keywords) == (ref, [], {})


def test_a_consumer_with_the_same_settings_gets_it(
    queue: Queue, valkey: EmbeddedValkey, settings: Settings
) -> None:
    queue.ring(JOB)
    app = Celery("consumer", set_as_current=False)
    app.conf.update(celery_config(settings, valkey.url))
    with app.connection_for_read() as connection:
        simple = connection.SimpleQueue("jobs")
        message = simple.get(timeout=5)
        message.ack()
        assert message.payload[0] == [str(JOB)]
        simple.close()
    app.close()
    assert queue.waiting(Kind.JOB) == 0


def test_the_settings_of_the_reliability_page(settings: Settings) -> None:
    config = celery_config(settings.model_copy(update={"namespace": "osmis"}), "redis://host/0")
    assert config["task_acks_late"] is False
    assert config["task_ignore_result"] is True
    assert config["worker_prefetch_multiplier"] == 1
    assert config["broker_transport_options"]["global_keyprefix"] == "cel:"
    assert config["broker_url"] == "redis://host/0"
    assert celery_url("unix:///run/v.sock") == "redis+socket:///run/v.sock?virtual_host=0"


def test_celery_verifies_certificates_as_we_do() -> None:
    for url in ("rediss://:secret@valkey:6379/0", "rediss://valkey:6379/0?ssl_ca_certs=/ca.pem"):
        with Connection(celery_url(url)) as connection:
            assert connection.ssl["ssl_cert_reqs"] == ssl.CERT_REQUIRED
    chosen = "rediss://valkey:6379/0?ssl_cert_reqs=none"
    assert celery_url(chosen) == chosen


def test_a_thousand_waiting_jobs_and_one_busy_worker_are_no_flood_of_messages(
    settings: Settings, client: redis.Redis, queue: Queue, objects: FolderStore
) -> None:
    """Five minutes, a round every quarter of a minute; the worker takes no message meanwhile."""
    store = TaskStore(client, settings.model_copy(update={"reap_lock_seconds": 0.001}))
    new = new_job()
    store.create_job(new)
    refs = [TaskRef(new.id), *(TaskRef(new_job_id()) for _ in range(WAITING - 1))]
    pipe = client.pipeline()
    for ref in refs[1:]:
        pipe.copy(store.keys.record(refs[0]), store.keys.record(ref))
        pipe.zadd(store.keys.pending(Kind.JOB), {str(ref): 1})
    pipe.execute()
    for ref in refs:  # as a gateway does when a job comes
        queue.ring(ref)
    rounds = 20
    for _ in range(rounds):
        run_round(store, objects, queue)
        assert queue.waiting(Kind.JOB) <= WAITING + 100
        pipe = client.pipeline()
        for ref in refs:  # a quarter of a minute later, or as if
            pipe.hincrby(store.keys.record(ref), "rung_us", -15_000_000)
        pipe.execute()
    assert client.zcard(store.keys.pending(Kind.JOB)) == WAITING

    client.delete(f"cel:{settings.namespace}:jobs")  # and now all messages are lost
    for _ in range(rounds):
        run_round(store, objects, queue)
        pipe = client.pipeline()
        for ref in refs:
            pipe.hincrby(store.keys.record(ref), "rung_us", -15_000_000)
        pipe.execute()
    assert 100 <= queue.waiting(Kind.JOB) <= WAITING + 100
