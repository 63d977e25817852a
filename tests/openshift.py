"""What OpenShift gives the overlay rhoai, for other clusters: the kind Route, and the certificate of a Service."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from gatehouse.domain.common.certificates import issue, new_authority_name
from gatehouse_local.objects import namespace as namespace_manifest

__all__ = ["ROUTES", "route_kind", "serving_certificate"]

ROUTES: Final = "routes.route.openshift.io"


def route_kind() -> dict[str, Any]:
    """The CustomResourceDefinition of a Route, which takes any spec."""
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": ROUTES},
        "spec": {
            "group": "route.openshift.io",
            "scope": "Namespaced",
            "names": {"kind": "Route", "plural": "routes", "singular": "route", "listKind": "RouteList"},
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": anything}}],
        },
    }


def serving_certificate(namespace: str, service: str, *, secret: str, clients: str) -> tuple[dict[str, Any], ...]:
    """The Secret that OpenShift makes for an annotated Service, and the authority in the namespace of its clients."""
    names = [f"{service}.{namespace}.svc", f"{service}.{namespace}.svc.cluster.local"]
    made = issue(
        authority=new_authority_name("openshift"),
        subject=service,
        usage="server",
        names=names,
        now=datetime.now(UTC),
        validity=timedelta(days=30),
    )
    data = {"tls.crt": made.certificate, "tls.key": made.key}
    authority = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "openshift-service-ca.crt", "namespace": clients},
        "data": {"service-ca.crt": made.authority.decode()},
    }
    return (
        namespace_manifest(namespace),
        namespace_manifest(clients),
        authority,
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "type": "kubernetes.io/tls",
            "metadata": {"name": secret, "namespace": namespace},
            "data": {name: base64.b64encode(value).decode() for name, value in data.items()},
        },
    )
