"""Traefik beside a cluster: where it listens, and what it may see and change."""

from __future__ import annotations

from pathlib import Path

from gatehouse_local.gateway import GATEWAY_CLASS, Gateway, gateway_objects, gateway_rights


def test_it_listens_on_the_port_of_the_listener_of_its_gateway(tmp_path: Path) -> None:
    gateway = Gateway(
        tmp_path / "gateway",
        program=Path("/bin/traefik"),
        kubeconfig=Path("/k"),
        port=8000,
        ping_port=8001,
        address="10.88.0.1",
    )
    assert gateway.address == ("10.88.0.1", 8000)
    server = gateway.server()
    assert "--entrypoints.http.address=10.88.0.1:8000" in server.argv
    assert "--entrypoints.ping.address=127.0.0.1:8001" in server.argv
    assert server.env["KUBECONFIG"] == "/k"
    kind, made = gateway_objects("public", namespace="gateways", port=8000)
    assert made["spec"]["gatewayClassName"] == kind["metadata"]["name"] == GATEWAY_CLASS
    [listener] = made["spec"]["listeners"]
    assert (listener["port"], listener["allowedRoutes"]["namespaces"]) == (8000, {"from": "All"})


def test_it_may_change_nothing_but_the_status_of_the_gateway_apis_kinds() -> None:
    role, binding = gateway_rights(account="traefik", namespace="gatehouse-local")
    changed = {
        (group, resource)
        for rule in role["rules"]
        if not set(rule["verbs"]) <= {"list", "watch"}
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }
    assert {group for group, _ in changed} == {"gateway.networking.k8s.io"}
    assert all(resource.endswith("/status") for _, resource in changed)
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "traefik", "namespace": "gatehouse-local"}]
