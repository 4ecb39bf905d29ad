"""The compose file, read by Compose's own binary."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from jobs.settings import Settings
from tests.compose.engine import COMPOSE

ROOT = Path(__file__).parents[2]
# Shown with a value that is no default.
EXAMPLES = {
    "ONEPAIR_ALLOW_OPEN",
    "ONEPAIR_API_KEYS_FILE",
    "ONEPAIR_INCEPTION_SHA256",
    "ONEPAIR_INCEPTION_WEIGHTS",
    "ONEPAIR_METRICS_PORT",
    "ONEPAIR_RATE_STORE_URL",
    "ONEPAIR_S3_PUBLIC_URL",
    "ONEPAIR_SECOND_GPU",
    "ONEPAIR_TRACES_URL",
}
EXPECTED = {
    "cpu": {"gateway", "worker-jobs", "worker-sets", "bucket", "valkey", "seaweedfs"},
    "gpu": {"gateway-gpu", "worker-jobs-gpu", "worker-sets-gpu", "bucket", "valkey", "seaweedfs"},
}


def config(
    tmp_path: Path, *arguments: str, project: Path = ROOT
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(COMPOSE), *arguments],
        cwd=project,
        env={**os.environ, "ONEPAIR_SECRETS": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def services(tmp_path: Path, profile: str, *, project: Path = ROOT) -> dict[str, Any]:
    arguments = ("--profile", profile, "config", "--format", "json")
    done = config(tmp_path, *arguments, project=project)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    found: dict[str, Any] = json.loads(done.stdout)["services"]
    return found


@pytest.mark.parametrize("profile", ["cpu", "gpu"])
def test_both_profiles_are_valid_and_hardened(tmp_path: Path, profile: str) -> None:
    found = services(tmp_path, profile)

    assert set(found) == EXPECTED[profile]
    for name, service in found.items():
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        assert "no-new-privileges:true" in service["security_opt"], name
        assert service["init"], name
        assert service["pids_limit"], name
        assert service["mem_limit"], name
        assert service["logging"]["options"]["max-size"], name
        assert service.get("user", "image's own") != "0", name
        runs_on = name != "bucket"
        assert service["restart"] == ("unless-stopped" if runs_on else "no"), name
        if runs_on:
            assert service["stop_grace_period"], name
        for needed, condition in service.get("depends_on", {}).items():
            once = "service_completed_successfully"
            assert condition["condition"] == (once if needed == "bucket" else "service_healthy")
    waited_for = {"valkey", "seaweedfs"}
    assert all(found[name]["healthcheck"]["test"] for name in waited_for)
    published = {name: s["ports"] for name, s in found.items() if s.get("ports")}
    assert len(published) == 1
    assert next(iter(published)).startswith("gateway")
    assert next(iter(published.values()))[0]["host_ip"] == "127.0.0.1"


def test_only_the_gpu_profile_asks_for_a_gpu(tmp_path: Path) -> None:
    def devices(service: dict[str, Any]) -> list[Any]:
        reserved = service.get("deploy", {}).get("resources", {}).get("reservations", {})
        found: list[Any] = reserved.get("devices", [])
        return found

    assert not any(devices(service) for service in services(tmp_path, "cpu").values())
    with_gpu = services(tmp_path, "gpu")
    assert [name for name, service in with_gpu.items() if devices(service)] == ["worker-jobs-gpu"]


def test_a_broken_file_is_noticed(tmp_path: Path) -> None:
    broken = tmp_path / "broken.yml"
    broken.write_text("services: {a: {imag: b}}")

    assert config(tmp_path, "-f", str(broken), "config").returncode != 0


def test_valkey_is_durable_and_the_filer_is_closed(tmp_path: Path) -> None:
    valkey = (ROOT / "docker" / "valkey.sh").read_text()
    assert "--appendfsync always" in valkey
    assert "--maxmemory-policy noeviction" in valkey
    assert "requirepass" in valkey
    assert "-filer.disableHttp" in (ROOT / "docker" / "seaweedfs.sh").read_text()


def explained() -> dict[str, str]:
    """What ``.env.example`` shows, commented out or not."""
    text = (ROOT / ".env.example").read_text()
    return dict(re.findall(r"^(?:# )?([A-Z0-9_]+)=(.*)$", text, re.MULTILINE))


def test_every_setting_is_explained_with_its_default() -> None:
    text, shown = (ROOT / ".env.example").read_text(), explained()
    for name, field in Settings.model_fields.items():
        variable = f"ONEPAIR_{name.upper()}"
        assert variable in text, variable
        if variable in shown and variable not in EXAMPLES:
            assert Settings.model_validate({name: shown[variable]}) == Settings(), (
                f"{variable}={shown[variable]}, and the default is {field.get_default()}"
            )


def test_every_variable_of_the_stack_is_explained() -> None:
    files = (ROOT / "docker-compose.yml", *(ROOT / "deploy").glob("compose.*.yml"))
    text = "".join(path.read_text() for path in files)
    asked = set(re.findall(r"\$\{([A-Z0-9_]+)", text))
    assert len(asked) > 8
    assert asked <= set(explained())


def test_what_env_says_reaches_the_processes(tmp_path: Path) -> None:
    """Of a copy of the project, with a ``.env`` of its own."""
    for name in ("docker-compose.yml", "docker", "deploy"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / ".env").write_text(
        "ONEPAIR_MAX_STRIKES=5\nONEPAIR_STORE=folder\nONEPAIR_PORT=9\nONEPAIR_S3_SECRET_KEY=told\n"
    )
    found = services(tmp_path, "cpu", project=tmp_path)
    for name in ("gateway", "worker-jobs", "worker-sets"):
        told = found[name]["environment"]
        assert told["ONEPAIR_MAX_STRIKES"] == "5"
        assert told["ONEPAIR_STORE"] == "s3"  # the stack knows better
        assert told["ONEPAIR_S3_SECRET_KEY"] == ""  # secrets are files
    assert found["gateway"]["environment"]["ONEPAIR_PORT"] == "8000"


def test_presigned_urls_need_an_address_that_clients_reach(tmp_path: Path) -> None:
    files = ("-f", "docker-compose.yml", "-f", "deploy/compose.presign.yml", "--profile", "cpu")
    refused = config(tmp_path, *files, "config")
    assert refused.returncode != 0
    assert "ONEPAIR_S3_PUBLIC_URL" in refused.stderr


def test_valkeys_container_has_room_for_a_copy(tmp_path: Path) -> None:
    valkey = services(tmp_path, "cpu")["valkey"]
    assert valkey["environment"]["VALKEY_MAXMEMORY"] == "1gb"
    assert int(valkey["mem_limit"]) >= 2.5 * 2**30


def test_a_published_object_store_is_on_a_network_of_its_own(tmp_path: Path) -> None:
    for name in ("docker-compose.yml", "docker", "deploy"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / ".env").write_text("ONEPAIR_S3_PUBLIC_URL=https://objects.example\n")
    files = ("-f", "docker-compose.yml", "-f", "deploy/compose.presign.yml", "--profile", "cpu")
    done = config(tmp_path, *files, "config", "--format", "json", project=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)["services"]
    assert [name for name, one in found.items() if "public" in one["networks"]] == ["seaweedfs"]
    assert found["gateway"]["environment"]["ONEPAIR_DELIVERY"] == "presign"
    (port,) = found["seaweedfs"]["ports"]
    assert (port["host_ip"], port["target"]) == ("127.0.0.1", 8333)


@pytest.mark.parametrize("name", ["webhooks", "watch"])
def test_additions_to_the_stack_are_valid(tmp_path: Path, name: str) -> None:
    files = ("-f", "docker-compose.yml", "-f", f"deploy/compose.{name}.yml")
    done = config(tmp_path, *files, "--profile", "cpu", "config", "--format", "json")
    assert done.returncode == 0, done.stderr
    gateway = json.loads(done.stdout)["services"]["gateway"]
    if name == "webhooks":
        assert gateway["environment"]["ONEPAIR_WEBHOOKS"] == "true"
        assert "onepair_webhook_secret" in {one["source"] for one in gateway["secrets"]}
    else:
        assert {"watch", "front", "state", "objects"} <= set(gateway["networks"])


def test_each_card_has_a_training_of_its_own(tmp_path: Path) -> None:
    done = config(
        tmp_path, *("--profile", "gpu", "--profile", "second-gpu", "config", "--format", "json")
    )
    assert done.returncode == 0, done.stderr
    cards = [
        device["device_ids"]
        for service in json.loads(done.stdout)["services"].values()
        for device in service.get("deploy", {})
        .get("resources", {})
        .get("reservations", {})
        .get("devices", [])
    ]
    assert sorted(cards) == [["0"], ["1"]]
