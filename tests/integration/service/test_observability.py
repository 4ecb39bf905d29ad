"""Alerts and the dashboard ask only for metrics that there are."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from tests.integration.service.client import TestClient
from worker.metrics import WorkerMetrics

DEPLOY = Path(__file__).parents[3] / "deploy"
ALERTS = DEPLOY / "prometheus" / "alerts.yml"
SCALED_OBJECTS = DEPLOY / "kubernetes" / "components" / "keda" / "scaled-objects.yaml"
DASHBOARD = DEPLOY / "grafana" / "onepair.json"
_METRIC = re.compile(r"\bonepair_[a-z_]+")
_OF_PROMETHEUS = {"instance", "job", "le"}
_ASIDE = ("_sum", "_created")
_SUFFIXES = {
    "counter": ("_total",),
    "gauge": ("",),
    "histogram": ("_bucket", "_count", "_sum"),
}


@pytest.fixture
def told(gateway: TestClient) -> dict[str, set[str]]:
    """Names that a gateway and a worker answer with, each with the labels it has so far."""
    texts = (gateway.get("/metrics").text, generate_latest(WorkerMetrics().registry).decode())
    return {
        family.name + suffix: {label for sample in family.samples for label in sample.labels}
        for text in texts
        for family in text_string_to_metric_families(text)
        for suffix in _SUFFIXES.get(family.type, ())
    }


def queries_of_the_dashboard() -> Iterator[str]:
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        yield from (target["expr"] for target in panel["targets"])


def test_every_query_of_the_dashboard_has_its_metrics(told: dict[str, set[str]]) -> None:
    queries = list(queries_of_the_dashboard())
    assert len(queries) > 15
    asked = {name for query in queries for name in _METRIC.findall(query)}
    assert asked <= set(told)


def test_every_alert_has_its_metrics(told: dict[str, set[str]]) -> None:
    expressions = re.findall(r"expr: (.*)", ALERTS.read_text())
    assert len(expressions) == ALERTS.read_text().count("- alert:")
    asked = {name for expression in expressions for name in _METRIC.findall(expression)}
    assert asked <= set(told)


def test_labels_that_are_asked_for_exist(told: dict[str, set[str]]) -> None:
    queries = [*queries_of_the_dashboard(), *re.findall(r"expr: (.*)", ALERTS.read_text())]
    checked = 0
    for query in queries:
        for name, chosen in re.findall(r"\b(onepair_[a-z_]+)\{([^}]*)\}", query):
            labels = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", chosen)) - _OF_PROMETHEUS
            if told[name]:  # what has not happened yet has no labels to look at
                assert labels <= told[name], query
                checked += len(labels)
        names = _METRIC.findall(query)
        if len(set(names)) == 1 and told[names[0]]:
            by = re.findall(r"by \(([^)]*)\)", query)
            grouped = {label for group in by for label in re.split(r",\s*", group) if label}
            assert grouped - _OF_PROMETHEUS <= told[names[0]], query
            checked += len(grouped)
    assert checked > 15


def test_what_is_told_is_looked_at(told: dict[str, set[str]]) -> None:
    """Nothing is measured that no alert, no panel and no autoscaler looks at."""
    shown = ALERTS.read_text() + DASHBOARD.read_text() + SCALED_OBJECTS.read_text()
    ours = {name for name in told if name.startswith("onepair_") and not name.endswith(_ASIDE)}
    unseen = {name for name in ours if name.removesuffix("_count") not in shown}
    assert unseen == {
        "onepair_http_requests_in_flight",
        "onepair_tasks_claimed_total",
        "onepair_worker_attempts_total",
    }


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
@pytest.mark.parametrize(
    "command", [("check", "rules", "alerts.yml"), ("test", "rules", "alerts_test.yml")]
)
def test_prometheus_reads_the_alerts_and_they_fire_when_they_should(command: tuple[str]) -> None:
    done = subprocess.run(
        ["promtool", *command], cwd=ALERTS.parent, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "SUCCESS" in done.stdout + done.stderr


def test_every_query_can_be_parsed() -> None:
    """As far as can be seen without Prometheus: brackets are closed, ranges have units."""
    for query in queries_of_the_dashboard():
        for opening, closing in ("()", "[]", "{}"):
            assert query.count(opening) == query.count(closing), query
        for duration in re.findall(r"\[([^\]]*)\]", query):
            assert re.fullmatch(r"\d+[smhd]", duration), query
