"""Settings: what is refused at the start, and that secrets stay secret."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from jobs.lua import script
from jobs.settings import Settings, load_settings

S3 = {"store": "s3", "delivery": "presign"}


def test_the_defaults_are_embedded() -> None:
    settings = Settings()
    assert settings.embedded
    assert (settings.lease_seconds, settings.beat_seconds, settings.reap_seconds) == (60, 10, 15)


@pytest.mark.parametrize(
    "fields",
    [
        {"delivery": "presign"},
        S3,
        S3 | {"s3_public_url": "http://127.0.0.1:8333", "host": "0.0.0.0"},
        S3 | {"s3_public_url": "http://localhost:8333", "host": "0.0.0.0"},
        {"lease_seconds": 10, "beat_seconds": 10},
        {"lease_seconds": 0},
        {"presign_seconds": 901},
        {"inception_weights": "w.pt"},
        {"namespace": "a}b"},
        {"port": 70_000},
    ],
)
def test_what_can_not_work_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Settings.model_validate(fields)


@pytest.mark.parametrize(
    "fields",
    [
        {"s3_public_url": "http://localhost:8333", "host": "127.0.0.1"},
        {"s3_public_url": "https://s3.example.org", "host": "0.0.0.0"},
    ],
)
def test_what_works_is_taken(fields: dict[str, Any]) -> None:
    assert Settings.model_validate(S3 | fields).delivery == "presign"


def test_secrets_come_from_files_and_stay_out_of_sight(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "onepair_s3_secret_key").write_text("hidden-in-a-file")
    monkeypatch.setenv("ONEPAIR_SECRETS_DIR", str(tmp_path))
    monkeypatch.setenv("ONEPAIR_VALKEY_URL", "redis://:hidden-in-the-url@host/0")
    settings = load_settings()
    assert settings.s3_secret_key is not None
    assert settings.s3_secret_key.get_secret_value() == "hidden-in-a-file"
    assert not settings.embedded
    for shown in (repr(settings), str(settings), settings.model_dump_json()):
        assert "hidden" not in shown


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError):
        Settings().port = 1  # type: ignore[misc]


def test_every_script_declares_what_it_does_when_memory_is_full() -> None:
    folder = Path(__file__).parents[3] / "jobs" / "lua"
    names = {path.stem for path in folder.glob("*.lua")} - {"prelude"}
    assert len(names) == 18
    # Only what takes on new work may be refused; everything else frees memory or ends work.
    refused = {name for name in names if script(name).startswith("#!lua\n")}
    assert refused == {"create", "create_set", "restore"}
    assert all(script(name).startswith("#!lua flags=allow-oom\n") for name in names - refused)


def test_the_job_model_stays_light() -> None:
    code = (
        "import sys, jobs.state, jobs.objects, jobs.queue, jobs.terminal, jobs.housekeeping\n"
        "heavy = {'torch', 'boto3', 'fastapi', 'osmis_core', 'numpy'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    root = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, check=False, capture_output=True)
    assert done.returncode == 0, done.stderr
