"""Alerts and dashboard ask for metrics that exist, with labels and values that they have, in PromQL that parses."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, get_args

import promql_parser
import pytest
import yaml
from prometheus_client import CollectorRegistry

from gatehouse.api.model_version import Phase
from gatehouse.app.metrics import OperatorMetrics
from gatehouse.domain.deployment.answers import AnswerKind
from gatehouse.install.shipped_files import shipped
from gatehouse.runtime.clock import LoopClock
from gatehouse.runtime.controller import Controller, KeyOutcome
from gatehouse.runtime.metrics import EngineMetrics
from gatehouse.server.app import HEALTHZ
from gatehouse.server.errors import Internal, Unavailable
from gatehouse.server.metrics import ServerMetrics
from gatehouse.server.readiness import probe_of
from gatehouse.storage.metrics import PrometheusStoreMetrics
from gatehouse.storage.s3 import refusals

COMPONENT = shipped("kustomize/components/monitoring")
RUNBOOKS = shipped("docs/monitoring.md")
OPERATOR, SERVER = "gatehouse-operator", "gatehouse-server"
OF_PROMETHEUS = {"up": {"job", "instance", "namespace", "pod"}}
TARGET = {"job", "instance", "namespace", "pod"}
"""Labels that the scrape adds."""


def load(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((COMPONENT / name).read_text())
    return loaded


RULES = [
    rule
    for file in ("rules.yaml", "server-rules.yaml")
    for group in load(file)["spec"]["groups"]
    for rule in group["rules"]
]
DASHBOARD = json.loads((COMPONENT / "gatehouse.json").read_text())
TARGETS = [(panel, target) for panel in DASHBOARD["panels"] for target in panel["targets"]]
QUERIES = [rule["expr"] for rule in RULES] + [target["expr"] for _, target in TARGETS]


@pytest.fixture(scope="module")
def exported() -> dict[str, dict[str, set[str]]]:
    """Labels by name of each sample that the operator and the server export."""
    return {
        job: {
            f"{collector._name}{suffix}": {*collector._labelnames, *(("le",) if suffix == "_bucket" else ())}
            for collector in found
            for suffix in SUFFIXES[collector._type]
        }
        for job, found in ((OPERATOR, asyncio.run(collectors())), (SERVER, collectors_of_server()))
    }


SUFFIXES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}


async def collectors() -> list[Any]:
    """What the parts of the operator register. Their clock needs a loop."""
    registry = CollectorRegistry()
    OperatorMetrics(registry)
    PrometheusStoreMetrics(registry)
    Controller(kind="modelversions", reconcile=nothing, workers=1, clock=LoopClock(), metrics=EngineMetrics(registry))
    return list(registry._collector_to_names)


def collectors_of_server() -> list[Any]:
    """What the server registers."""
    registry = CollectorRegistry()
    ServerMetrics(registry)
    return list(registry._collector_to_names)


async def nothing(namespace: str, name: str, /) -> KeyOutcome:
    raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Selector:
    """One metric in a query, with what its labels must be."""

    name: str
    matchers: tuple[tuple[str, str], ...]


def selectors(query: str) -> list[Selector]:
    """Every metric that a query asks for."""
    found: list[Selector] = []

    def visit(node: promql_parser.Expr) -> None:
        if isinstance(node, promql_parser.VectorSelector):
            matchers = tuple((each.name, each.value) for each in node.matchers.matchers)
            found.append(Selector(node.name, matchers))

    promql_parser.walk(promql_parser.parse(query), visit)
    return found


def groupings(query: str) -> Iterator[set[str]]:
    """The labels of each `by (…)`."""
    for inside in re.findall(r"\bby \(([^)]*)\)", query):
        yield {label.strip() for label in inside.split(",")}


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_asks_for_what_is_exported(exported: dict[str, dict[str, set[str]]], query: str) -> None:
    asked = selectors(query)
    [job] = {dict(selector.matchers)["job"] for selector in asked}
    known = exported[job] | OF_PROMETHEUS
    for selector in asked:
        assert selector.name in known, selector.name
        assert {name for name, _ in selector.matchers} <= known[selector.name] | TARGET
    common = set.intersection(*(known[selector.name] for selector in asked))
    for labels in groupings(query):
        assert labels <= common


REFUSALS = {each.reason for each in vars(refusals).values() if isinstance(each, refusals.Meaning)}
PROBES = {HEALTHZ, *(path for path in ("/readyz/health", "/readyz/isDirty") if probe_of(path))}
VALUES = {
    ("gatehouse_versions", "phase"): set(get_args(Phase)),
    ("gatehouse_reconciles_total", "outcome"): {"done", "later", "retry", "error"},
    ("gatehouse_store_requests_total", "outcome"): {"ok", "cancelled", "CertificateRejected", *REFUSALS},
    ("gatehouse_api_requests_total", "code"): {"0", "403", "429", "5.."},
    ("gatehouse_analysis_queries_total", "answer"): set(get_args(AnswerKind)),
    ("gatehouse_server_requests_total", "status"): {str(error.status.value) for error in (Internal, Unavailable)},
    ("gatehouse_server_requests_total", "route"): PROBES,
    ("gatehouse_server_request_seconds_bucket", "route"): PROBES,
}


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_matches_values_that_occur(query: str) -> None:
    for selector in selectors(query):
        for label, value in selector.matchers:
            if label != "job":
                assert set(value.split("|")) <= VALUES[selector.name, label]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_tells_what_to_do(rule: dict[str, Any]) -> None:
    name = rule["alert"]
    assert rule["labels"]["severity"] in {"critical", "warning", "info"}
    assert rule["annotations"]["summary"]
    assert rule["annotations"]["description"]
    assert rule["annotations"]["runbook_url"].endswith(f"/docs/monitoring.md#{name.lower()}")
    section = RUNBOOKS.read_text().split(f"\n### {name}\n")
    assert len(section) == 2, f"{RUNBOOKS.name} has no section {name}"
    text = section[1].split("\n### ")[0]
    assert "**Means.**" in text
    assert "**Do.**" in text


def test_no_runbook_is_left_over() -> None:
    assert re.findall(r"^### (\w+)$", RUNBOOKS.read_text(), re.MULTILINE) == [rule["alert"] for rule in RULES]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_the_labels_of_a_description_are_those_of_the_alert(rule: dict[str, Any]) -> None:
    named = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["description"]))
    grouped = set.union(set(), *groupings(rule["expr"]))
    assert named <= grouped


def test_every_panel_names_the_labels_that_its_query_keeps() -> None:
    for panel, target in TARGETS:
        assert panel["title"]
        named = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
        assert named <= set.union(set(), *groupings(target["expr"])), panel["title"]


@pytest.mark.parametrize(
    ("monitor", "service", "job"),
    [
        ("service-monitor.yaml", "base/operator/service.yaml", OPERATOR),
        ("server-monitor.yaml", "base/server/service.yaml", SERVER),
        ("server-monitor.yaml", "components/server-beside/service.yaml", SERVER),
    ],
)
def test_the_scrape_finds_the_service(monitor: str, service: str, job: str) -> None:
    found = yaml.safe_load(shipped(f"kustomize/{service}").read_text())
    asked = load(monitor)
    wanted = asked["spec"]["selector"]["matchLabels"]
    assert wanted.items() <= found["metadata"]["labels"].items()
    assert asked["metadata"]["namespace"] == found["metadata"]["namespace"]
    label = asked["spec"].get("jobLabel")
    assert (found["metadata"]["labels"][label] if label else found["metadata"]["name"]) == job
    [endpoint] = asked["spec"]["endpoints"]
    assert endpoint["port"] in {port["name"] for port in found["spec"]["ports"]}
