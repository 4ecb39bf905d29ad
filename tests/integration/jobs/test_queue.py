"""The doorbell, read back by a real Celery consumer's means."""

from __future__ import annotations

import base64
import json

import redis
from celery import Celery

from jobs.queue import RUN_JOB, RUN_SET, Queue, celery_config, celery_url
from jobs.record import Kind, TaskRef
from jobs.settings import Settings
from jobs.valkey import EmbeddedValkey

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
