"""The objects of the server: what dashboards look for, what the process takes, and no more rights than it needs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from gatehouse.app.server_settings import ServerSettings
from gatehouse.app.settings_declared import declared_settings
from gatehouse.app.settings_sources import load_settings

ROOT = Path(__file__).parents[3]
BASE = ROOT / "kustomize/base/server"


def objects() -> dict[str, dict[str, Any]]:
    listed = yaml.safe_load((BASE / "kustomization.yaml").read_text())["resources"]
    assert sorted(listed) == sorted(path.name for path in BASE.glob("*.yaml") if path.name != "kustomization.yaml")
    bodies = [body for name in listed for body in yaml.safe_load_all((BASE / name).read_text())]
    return {body["kind"]: body for body in bodies}


def container() -> dict[str, Any]:
    [only] = objects()["Deployment"]["spec"]["template"]["spec"]["containers"]
    return dict(only)


def test_dashboards_find_the_service() -> None:
    service = objects()["Service"]
    assert service["metadata"]["labels"]["component"] == "model-registry"
    assert {"displayName", "description"} <= service["metadata"]["annotations"].keys()
    ports = {port["name"]: port["containerPort"] for port in container()["ports"]}
    assert {port["name"]: port["targetPort"] for port in service["spec"]["ports"]} == {name: name for name in ports}
    assert [port["port"] for port in service["spec"]["ports"] if port["name"] == "http-api"] == [8080]


def test_the_process_takes_the_variables_and_listens_where_the_ports_are() -> None:
    environ = {entry["name"]: entry["value"] for entry in container()["env"]}
    known = {setting.variable for setting in declared_settings(ServerSettings)}
    assert {name for name in environ if name.startswith("GATEHOUSE_")} <= known
    settings = load_settings(ServerSettings, flags={}, environ=environ, config=None).settings
    ports = {port["name"]: port["containerPort"] for port in container()["ports"]}
    assert settings.listen_address == f"0.0.0.0:{ports['http-api']}"
    assert settings.health_address == f"0.0.0.0:{ports['health']}"
    mounts = [mount["mountPath"] for mount in container()["volumeMounts"]]
    assert str(settings.data_dir) in mounts
    pod = objects()["Deployment"]["spec"]["template"]["spec"]
    pause = container()["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pause + settings.shutdown_grace < pod["terminationGracePeriodSeconds"]


def test_two_servers_run_without_privileges_and_are_not_all_evicted_at_once() -> None:
    made = objects()
    deployment = made["Deployment"]["spec"]
    assert deployment["replicas"] == 2
    labels = deployment["template"]["metadata"]["labels"]
    for selector in (
        deployment["selector"]["matchLabels"],
        made["Service"]["spec"]["selector"],
        made["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
        made["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"],
    ):
        assert selector.items() <= labels.items()
    assert made["PodDisruptionBudget"]["spec"]["maxUnavailable"] == 1
    assert deployment["template"]["spec"]["securityContext"]["runAsNonRoot"]
    assert container()["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_the_server_may_ask_and_may_write_nothing_in_its_own_name() -> None:
    role = yaml.safe_load((ROOT / "manifests/rbac/server-clusterrole.yaml").read_text())
    created = {resource for rule in role["rules"] if "create" in rule["verbs"] for resource in rule["resources"]}
    assert created == {"tokenreviews", "subjectaccessreviews"}
    assert {verb for rule in role["rules"] for verb in rule["verbs"]} == {"create", "get", "list"}
    binding = objects()["ClusterRoleBinding"]
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    assert binding["subjects"] == [
        {"kind": "ServiceAccount", "name": "gatehouse-server", "namespace": "gatehouse-system"}
    ]
    assert objects()["Deployment"]["spec"]["template"]["spec"]["serviceAccountName"] == "gatehouse-server"


def test_out_of_the_pod_only_names_the_api_server_and_databases_are_reached() -> None:
    [rule] = objects()["NetworkPolicy"]["spec"]["egress"]
    assert {port["port"] for port in rule["ports"]} == {53, 5353, 443, 6443, 3306, 5432}
