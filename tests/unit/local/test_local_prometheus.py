"""Prometheus beside a cluster: what it scrapes, and what it may see."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from gatehouse_local.prometheus import Prometheus, prometheus_config, prometheus_rights

META = "__meta_kubernetes_pod"


def scraped(pod: dict[str, str]) -> dict[str, str] | None:
    """The labels of a Pod's target after relabelling; None if it is left out. As Prometheus does it."""
    labels = dict(pod)
    [job] = yaml.safe_load(prometheus_config(Path("/k"), interval=1))["scrape_configs"]
    for rule in job["relabel_configs"]:
        value = rule.get("separator", ";").join(labels.get(name, "") for name in rule.get("source_labels", ()))
        regex = rule.get("regex", "(.*)")
        matched = re.fullmatch(regex, value)
        match rule.get("action", "replace"):
            case "drop" if matched:
                return None
            case "keep" if not matched:
                return None
            case "labelmap":
                found = {name: re.fullmatch(regex, name) for name in labels}
                labels |= {each[1]: labels[name] for name, each in found.items() if each}
            case "replace" if matched:
                labels[rule["target_label"]] = matched[1]
    return {name: value for name, value in labels.items() if not name.startswith("__meta")}


def pod(**annotations: str) -> dict[str, str]:
    return {
        "__address__": "10.88.1.9:9999",
        "__meta_kubernetes_namespace": "chatbots",
        f"{META}_name": "chat-1",
        f"{META}_ip": "10.88.1.9",
        f"{META}_phase": "Running",
        f"{META}_label_serving_kserve_io_inferenceservice": "chat",
        **{f"{META}_annotation_prometheus_io_{name}": value for name, value in annotations.items()},
    }


def test_a_pod_with_a_port_is_scraped_with_its_names() -> None:
    named = {"namespace": "chatbots", "pod": "chat-1", "serving_kserve_io_inferenceservice": "chat"}
    assert scraped(pod(port="8080")) == {"__address__": "10.88.1.9:8080", **named}
    assert scraped(pod(port="8080", path="/m")) == {
        "__address__": "10.88.1.9:8080",
        "__metrics_path__": "/m",
        **named,
    }


def test_other_pods_are_left_out() -> None:
    assert scraped(pod()) is None
    assert scraped(pod(port="http")) is None
    assert scraped(pod(port="8080", scrape="false")) is None
    assert scraped(pod(port="8080") | {f"{META}_phase": "Succeeded"}) is None


def test_it_listens_where_it_is_told_and_another_interval_restarts_it(tmp_path: Path) -> None:
    def made(interval: int) -> Prometheus:
        files: dict[str, Any] = {"program": Path("/bin/prometheus"), "kubeconfig": Path("/k")}
        return Prometheus(tmp_path, port=9090, address="10.88.0.1", interval=interval, **files)

    assert made(1).url == "http://10.88.0.1:9090"
    assert "--web.listen-address=10.88.0.1:9090" in made(1).server().argv
    assert made(1).server().fingerprint() != made(2).server().fingerprint()


def test_it_may_see_pods_and_nothing_else() -> None:
    role, binding = prometheus_rights(account="prometheus", namespace="monitoring")
    assert role["rules"] == [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]}]
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "prometheus", "namespace": "monitoring"}]
