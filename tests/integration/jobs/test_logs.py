"""Log lines of a process of ours: one format, no secrets."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
SECRETS = ("valkey-pass", "s3-secret")
PROGRAM = """
import logging, structlog
from jobs.settings import load_settings
from jobs.logs import configure_logging
log = structlog.get_logger("worker.test")
configure_logging(load_settings())
structlog.contextvars.bind_contextvars(request_id="r1")
log.debug("not_told")
log.info("begins", task="t1")
logging.getLogger("kombu").info("not told")
logging.getLogger("kombu").warning("no route to redis://:valkey-pass@host:6379")
def fail():
    key = "s3-secret"
    raise RuntimeError("broke with " + key)
try:
    fail()
except RuntimeError:
    log.exception("broke")
"""


def lines(log_format: str) -> str:
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=ROOT,
        env={
            **os.environ,
            "ONEPAIR_VALKEY_URL": "redis://:valkey-pass@host:6379/0",
            "ONEPAIR_S3_SECRET_KEY": "s3-secret",
            "ONEPAIR_LOG_FORMAT": log_format,
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert ran.stdout == ""
    return ran.stderr


def test_json_is_one_object_a_line_of_our_events_and_the_libraries() -> None:
    told = [json.loads(line) for line in lines("json").splitlines()]

    assert [t["event"] for t in told] == ["begins", told[1]["event"], "broke"]
    assert told[0]["task"] == "t1"
    assert {t["request_id"] for t in told} == {"r1"}
    assert told[0]["logger"] == "worker.test"
    assert [t["level"] for t in told] == ["info", "warning", "error"]
    assert "RuntimeError" in told[2]["exception"]
    assert all("timestamp" in t for t in told)


def test_no_line_has_a_secret() -> None:
    for log_format in ("json", "console"):
        written = lines(log_format)
        assert not [secret for secret in SECRETS if secret in written]
        assert "no route to redis://:***@host:6379" in written
        assert "key = " not in written or 'key = "***"' in written  # no local variables shown
