"""The manifests as kustomize renders them: valid, as meant, and as they were when last looked at.

Where a change is meant, ``python tests/deployment/test_kubernetes.py`` writes the golden files.
"""

from __future__ import annotations

import functools
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from cli.weights import INSTALLED_AS
from jobs.settings import Settings
from service.version import package_version
from worker.runtime import HEALTH_SECONDS, JOIN_SECONDS

ROOT = Path(__file__).parents[2]
OVERLAYS = ROOT / "deploy" / "kubernetes" / "overlays"
WITH_INCEPTION = "with_inception"
GOLDEN = ROOT / "tests" / "golden" / "kubernetes"
NAMES = ("cpu", "gpu", "example", WITH_INCEPTION)
OLDEST, NEWEST = "1.32", "1.37"
# Variables that are no settings: where secrets are, a worker's queue, and what an installer needs.
BESIDE_SETTINGS = {"ONEPAIR_SECRETS_DIR", "ONEPAIR_QUEUE", "WEIGHTS_URL"}
# KEDA's own schema can't be had here: what of keda.sh/v1alpha1 we use, and no more.
SCALED_OBJECT = {
    "type": "object",
    "additionalProperties": False,
    "required": ["scaleTargetRef", "triggers"],
    "properties": {
        "scaleTargetRef": {
            "type": "object",
            "additionalProperties": False,
            "required": ["name"],
            "properties": {"name": {"type": "string"}},
        },
        "pollingInterval": {"type": "integer", "minimum": 1},
        "cooldownPeriod": {"type": "integer", "minimum": 0},
        "minReplicaCount": {"type": "integer", "minimum": 0},
        "maxReplicaCount": {"type": "integer", "minimum": 1},
        "advanced": {
            "type": "object",
            "additionalProperties": False,
            "properties": {"horizontalPodAutoscalerConfig": {"type": "object"}},
        },
        "triggers": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["type", "metadata"],
                "properties": {
                    "type": {"const": "metrics-api"},
                    "metricType": {"enum": ["AverageValue", "Value"]},
                    "metadata": {
                        "type": "object",
                        "additionalProperties": {"type": "string"},
                        "required": ["url", "valueLocation", "targetValue", "format"],
                    },
                },
            },
        },
    },
}

Manifest = dict[str, Any]


@functools.cache
def rendered(overlay: str) -> str:
    folder = Path(__file__).parent if overlay == WITH_INCEPTION else OVERLAYS
    done = subprocess.run(
        [str(Path(sys.executable).with_name("kubectl")), "kustomize", str(folder / overlay)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def manifests(overlay: str) -> list[Manifest]:
    return list(yaml.safe_load_all(rendered(overlay)))


def named(overlay: str, kind: str, name: str) -> Manifest:
    (found,) = [
        one
        for one in manifests(overlay)
        if one["kind"] == kind and one["metadata"]["name"].startswith(name)
    ]
    return found


def pods(overlay: str) -> dict[str, Manifest]:
    """Pod templates by what makes them."""
    return {
        one["metadata"]["name"]: one["spec"]["template"]
        for one in manifests(overlay)
        if one["kind"] == "Deployment"
    }


def check(manifest: Manifest, version: str) -> None:
    if manifest["apiVersion"] == "keda.sh/v1alpha1":
        jsonschema.validate(manifest["spec"], SCALED_OBJECT)
        # what KEDA hands on to the autoscaler has a schema
        behaviour = manifest["spec"]["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
        check(autoscaler(behaviour), version)
        return
    kubernetes_validate.validate(manifest, version, strict=True)


def autoscaler(behaviour: Any) -> Manifest:
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "any"}
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "any"},
        "spec": {"scaleTargetRef": target, "maxReplicas": 1, "behavior": behaviour},
    }


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize("overlay", NAMES)
def test_every_manifest_fits_its_schema(overlay: str, version: str) -> None:
    found = manifests(overlay)
    assert len(found) > 10
    for manifest in found:
        check(manifest, version)


def test_a_wrong_field_would_be_noticed() -> None:
    gateway = named("cpu", "Deployment", "onepair-gateway")
    gateway["spec"]["template"]["spec"]["containers"][0]["redinessProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        check(gateway, NEWEST)
    scaled = named("example", "ScaledObject", "onepair-worker-jobs")
    scaled["spec"]["maxReplicas"] = 3
    with pytest.raises(jsonschema.ValidationError):
        check(scaled, NEWEST)


@pytest.mark.parametrize("overlay", NAMES)
def test_it_is_what_it_was(overlay: str) -> None:
    """Not a line has changed but those that were looked at."""
    assert rendered(overlay) == (GOLDEN / f"{overlay}.yaml").read_text()


@pytest.mark.parametrize("overlay", NAMES)
def test_every_variable_is_a_setting(overlay: str) -> None:
    known = {f"ONEPAIR_{name.upper()}" for name in Settings.model_fields} | BESIDE_SETTINGS
    found = set(named(overlay, "ConfigMap", "onepair-settings")["data"])
    for template in pods(overlay).values():
        for container in template["spec"]["containers"]:
            found |= {one["name"] for one in container.get("env", [])}
    assert len(found) > 8
    assert found <= known


@pytest.mark.parametrize("overlay", NAMES)
def test_pods_may_do_what_they_need_and_no_more(overlay: str) -> None:
    """Kubernetes' own standard ``restricted``, and a root that can't be written."""
    for name, template in pods(overlay).items():
        pod = template["spec"]
        assert pod["automountServiceAccountToken"] is False, name
        assert pod["securityContext"]["runAsNonRoot"], name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        for container in (*pod.get("initContainers", ()), *pod["containers"]):
            allowed = container["securityContext"]
            assert allowed["readOnlyRootFilesystem"], name
            assert allowed["allowPrivilegeEscalation"] is False, name
            assert allowed["capabilities"] == {"drop": ["ALL"]}, name
            assert container["resources"]["limits"]["memory"], name
            assert container["image"].endswith(f":{package_version()}"), name


@pytest.mark.parametrize("overlay", NAMES)
def test_what_is_selected_is_there(overlay: str) -> None:
    """Services, budgets and policies find the pods that they are meant for."""
    labels = {name: one["metadata"]["labels"] for name, one in pods(overlay).items()}

    def selected(selector: dict[str, str]) -> set[str]:
        return {name for name, has in labels.items() if selector.items() <= has.items()}

    workers = {"onepair-worker-jobs", "onepair-worker-sets"}
    service = named(overlay, "Service", "onepair-gateway")
    assert selected(service["spec"]["selector"]) == {"onepair-gateway"}
    budget = named(overlay, "PodDisruptionBudget", "onepair-workers")
    assert selected(budget["spec"]["selector"]["matchLabels"]) == workers
    closed = named(overlay, "NetworkPolicy", "onepair-nothing-else")
    assert selected(closed["spec"]["podSelector"]["matchLabels"]) == set(labels)
    assert set(closed["spec"]["policyTypes"]) == {"Ingress", "Egress"}
    assert "ingress" not in closed["spec"]


def test_each_training_has_a_gpu_of_its_own() -> None:
    templates = pods("gpu")
    jobs = templates["onepair-worker-jobs"]["spec"]
    assert jobs["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert jobs["nodeSelector"] == {"nvidia.com/gpu.present": "true"}
    (sets,) = templates["onepair-worker-sets"]["spec"]["containers"]
    assert "nvidia.com/gpu" not in sets["resources"]["limits"]
    assert {"name": "ONEPAIR_DEVICE", "value": "cpu"} in sets["env"]


def test_scaling_counts_what_waits_and_what_runs() -> None:
    """By a metric that the gateway has; and down so slowly that a checkpoint is written."""
    for queue, kind in (("jobs", "job"), ("sets", "set")):
        spec = named("example", "ScaledObject", f"onepair-worker-{queue}")["spec"]
        assert spec["triggers"][0]["metadata"]["valueLocation"] == (
            f'onepair_workers_wanted{{kind="{kind}"}}'
        )
        policies = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]["scaleDown"]
        worker = named("example", "Deployment", spec["scaleTargetRef"]["name"])["spec"]
        grace = worker["template"]["spec"]["terminationGracePeriodSeconds"]
        assert policies["policies"] == [{"type": "Pods", "value": 1, "periodSeconds": 180}]
        assert grace < 180  # one has ended before the next is taken
        assert "replicas" not in worker


def test_weights_are_where_the_settings_say() -> None:
    settings = named(WITH_INCEPTION, "ConfigMap", "onepair-settings")["data"]
    path = Path(settings["ONEPAIR_INCEPTION_WEIGHTS"])
    for name in ("onepair-worker-jobs", "onepair-worker-sets"):
        pod = pods(WITH_INCEPTION)[name]["spec"]
        (install,), (worker,) = pod["initContainers"], pod["containers"]
        (mount,) = [one for one in worker["volumeMounts"] if one["name"] == "weights"]
        assert path == Path(mount["mountPath"]) / INSTALLED_AS
        assert install["command"][-2:] == ["--data-dir", mount["mountPath"]]
        assert install["image"] == worker["image"]


def test_graces_are_above_what_the_processes_take() -> None:
    settings = named("cpu", "ConfigMap", "onepair-settings")["data"]
    gateway = pods("cpu")["onepair-gateway"]["spec"]
    (container,) = gateway["containers"]
    before = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    shutdown = int(settings["ONEPAIR_SHUTDOWN_SECONDS"])
    assert gateway["terminationGracePeriodSeconds"] >= before + shutdown + 5
    worker = pods("cpu")["onepair-worker-jobs"]["spec"]
    assert worker["terminationGracePeriodSeconds"] > JOIN_SECONDS + 2 * HEALTH_SECONDS


if __name__ == "__main__":
    for overlay_name in NAMES:
        (GOLDEN / f"{overlay_name}.yaml").write_text(rendered(overlay_name))
