"""Traefik beside a cluster, as an implementation of the Gateway API."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from gatehouse_local.files import make_private
from gatehouse_local.net import LOOPBACK, http_ready
from gatehouse_local.process import Server

__all__ = ["GATEWAY_CLASS", "GATEWAY_MODULE", "GATEWAY_PROGRAM", "Gateway", "gateway_objects", "gateway_rights"]

Manifest = dict[str, Any]

GATEWAY_PROGRAM: Final = "traefik"
GATEWAY_MODULE: Final = "sigs.k8s.io/gateway-api"
"""The Go module with the kinds, of the version that Traefik is built with."""
GATEWAY_CLASS: Final = "traefik"
_GROUP: Final = "gateway.networking.k8s.io"
_API_VERSION: Final = f"{_GROUP}/v1"
_LABELS: Final = {"app.kubernetes.io/part-of": "gatehouse"}
_PING_PATH: Final = "/ping"


class Gateway:
    """The folder and the server of one Traefik.

    Args:
        home: a folder of its own.
        program: the path of the program.
        kubeconfig: how it reaches the API server.
        port: where it takes requests: also the port of the listener of its Gateway.
        ping_port: where it says that it runs, on loopback.
        address: the address of the machine that it takes requests on. It reaches Pods by their own addresses.
    """

    def __init__(
        self, home: Path, *, program: Path, kubeconfig: Path, port: int, ping_port: int, address: str = LOOPBACK
    ) -> None:
        self._home = home
        self._program = program
        self._kubeconfig = kubeconfig
        self._port = port
        self._ping_port = ping_port
        self._address = address

    @property
    def address(self) -> tuple[str, int]:
        """Where clients reach the routes."""
        return self._address, self._port

    def server(self) -> Server:
        """The process."""
        provider = "--providers.kubernetesgateway"
        return Server(
            name=GATEWAY_PROGRAM,
            argv=(
                str(self._program),
                f"{provider}=true",
                f"{provider}.statusaddress.ip={self._address}",
                # A changed weight is obeyed at once, and not after two seconds.
                f"{provider}.throttleduration=0s",
                "--providers.providersthrottleduration=100ms",
                f"--entrypoints.http.address={self._address}:{self._port}",
                f"--entrypoints.ping.address={LOOPBACK}:{self._ping_port}",
                "--ping=true",
                "--ping.entrypoint=ping",
                "--global.checknewversion=false",
                "--global.sendanonymoususage=false",
                "--log.level=INFO",
            ),
            env={"KUBECONFIG": str(self._kubeconfig), "TMPDIR": str(make_private(self._home))},
            ready=http_ready(self._ping_port, _PING_PATH),
        )


def gateway_objects(name: str, *, namespace: str, port: int) -> Iterator[Manifest]:
    """The class of Traefik, and a Gateway that takes routes of every namespace."""
    yield {
        "apiVersion": _API_VERSION,
        "kind": "GatewayClass",
        "metadata": {"name": GATEWAY_CLASS, "labels": _LABELS},
        "spec": {"controllerName": "traefik.io/gateway-controller"},
    }
    routes = {"namespaces": {"from": "All"}, "kinds": [{"kind": "HTTPRoute"}]}
    yield {
        "apiVersion": _API_VERSION,
        "kind": "Gateway",
        "metadata": {"name": name, "namespace": namespace, "labels": _LABELS},
        "spec": {
            "gatewayClassName": GATEWAY_CLASS,
            "listeners": [{"name": "http", "port": port, "protocol": "HTTP", "allowedRoutes": routes}],
        },
    }


def gateway_rights(*, account: str, namespace: str) -> Iterator[Manifest]:
    """The rights of its ServiceAccount. Traefik does not start without those on Secrets, ConfigMaps and all routes."""
    reads = ["list", "watch"]
    kinds = ["backendtlspolicies", "gatewayclasses", "gateways", "grpcroutes", "httproutes", "referencegrants"]
    rules = [
        {"apiGroups": [""], "resources": ["configmaps", "namespaces", "secrets", "services"], "verbs": reads},
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": reads},
        {"apiGroups": [_GROUP], "resources": [*kinds, "tlsroutes"], "verbs": reads},
        {"apiGroups": [_GROUP], "resources": [f"{kind}/status" for kind in kinds[:-1]], "verbs": ["update"]},
    ]
    group = "rbac.authorization.k8s.io"
    metadata = {"name": "gatehouse-local-gateway", "labels": _LABELS}
    yield {"apiVersion": f"{group}/v1", "kind": "ClusterRole", "metadata": metadata, "rules": rules}
    yield {
        "apiVersion": f"{group}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": metadata,
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": metadata["name"]},
        "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": namespace}],
    }
