"""``onepair doctor``, as an operator runs it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from tests.e2e.conftest import Served, onepair


def test_before_and_while_the_service_runs(served: Served, tmp_path: Path) -> None:
    fresh = onepair("doctor", "--data-dir", str(tmp_path / "fresh"))
    assert fresh.returncode == 0, fresh.stdout
    assert "embedded; `onepair serve` starts it" in fresh.stdout

    done = onepair("doctor", "--json", "--data-dir", str(served.data_dir))
    assert done.returncode == 0, done.stdout
    findings = {one["name"]: one for one in json.loads(done.stdout)}
    assert {"Valkey", "appendonly", "object store", "jobs", "sets", "disk"} <= set(findings)
    assert findings["device"]["detail"]
    assert "SIFID" in findings["InceptionV3 weights"]["detail"]


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"ONEPAIR_VALKEY_URL": "redis://127.0.0.1:9/0"}, "Valkey"),
        (
            {
                "ONEPAIR_STORE": "s3",
                "ONEPAIR_S3_ENDPOINT_URL": "http://127.0.0.1:9",
                "ONEPAIR_S3_ACCESS_KEY": "a",
                "ONEPAIR_S3_SECRET_KEY": "b",
            },
            "object store",
        ),
        (
            {"ONEPAIR_INCEPTION_WEIGHTS": "{tmp}/w.pth", "ONEPAIR_INCEPTION_SHA256": "0" * 64},
            "InceptionV3 weights",
        ),
        ({"ONEPAIR_HOST": "0.0.0.0"}, "access"),
        ({"ONEPAIR_DEVICE": "cuda"}, "device"),
    ],
)
def test_what_is_wrong_is_exit_status_1_and_a_hint(
    changes: dict[str, str], name: str, tmp_path: Path
) -> None:
    (tmp_path / "w.pth").write_bytes(b"not the weights")
    changes = {key: value.format(tmp=tmp_path) for key, value in changes.items()}
    done = onepair("doctor", "--json", "--data-dir", str(tmp_path / "data"), **changes)
    assert done.returncode == 1, done.stdout
    bad = [one for one in json.loads(done.stdout) if one["verdict"] == "bad"]
    assert [one["name"] for one in bad] == [name]
    assert len(bad[0]["hint"]) > 10


def test_weights_as_configured(tmp_path: Path) -> None:
    weights = tmp_path / "w.pth"
    weights.write_bytes(b"the weights")
    changes = {
        "ONEPAIR_INCEPTION_WEIGHTS": str(weights),
        "ONEPAIR_INCEPTION_SHA256": hashlib.sha256(b"the weights").hexdigest(),
    }
    done = onepair("doctor", "--data-dir", str(tmp_path / "data"), **changes)
    assert done.returncode == 0, done.stdout
    assert "SHA-256 as configured" in done.stdout
