"""The objects with which Gatehouse can be used on an empty control plane, as manifests."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from typing import Any

from gatehouse_local.databases import LocalDatabase
from gatehouse_local.s3 import S3Endpoint

__all__ = [
    "BUCKET",
    "HOOK",
    "NAMESPACE",
    "REGISTRY",
    "Manifest",
    "bindings",
    "namespace",
    "registry",
    "registry_access",
    "with_operator",
]

Manifest = dict[str, Any]

NAMESPACE = "gatehouse-system"
REGISTRY = "local"
HOOK = f"/hooks/s3/{REGISTRY}"
"""Where the server takes the object store's events."""
BUCKET = "models"
_OBJECT_STORE_SECRET = "local-object-store"  # noqa: S105  the name of a Secret
_DATABASE_SECRET = "local-database"  # noqa: S105  the name of a Secret
_HOOK_SECRET = "local-store-events"  # noqa: S105  the name of a Secret
_TOKEN_KEY = "token"  # noqa: S105  a key in a Secret
_PASSWORD_KEY = "password"  # noqa: S105  a key in a Secret
_LABELS = {"app.kubernetes.io/part-of": "gatehouse"}
_RBAC = "rbac.authorization.k8s.io"
_OPERATORS = "operators"


def namespace(name: str = NAMESPACE) -> Manifest:
    """A Namespace."""
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": _LABELS}}


def bindings(*, operator_user: str, server_user: str) -> Iterator[Manifest]:
    """Binds the users of the operator and the server to the shipped roles, and the groups of people to their roles.

    People see everything but Secrets. Users discover models everywhere and deploy in the namespace `default`. Data
    scientists submit models there. Administrators change every kind of Gatehouse, approve models of every risk tier and
    select the gated namespaces.
    """
    operator = _subject("User", operator_user)
    yield _binding("gatehouse-operator", _cluster_role("gatehouse-operator"), operator)
    yield _binding("gatehouse-operator", _role("gatehouse-operator"), operator, namespace=NAMESPACE)
    yield registry_access(NAMESPACE, operator_user=operator_user)
    server = _subject("User", server_user)
    yield _binding("gatehouse-server", _cluster_role("gatehouse-server"), server)
    secrets = _cluster_role("gatehouse-registry-secrets")
    yield _binding("gatehouse-server-registry-secrets", secrets, server, namespace=NAMESPACE)
    users, admins = _subject("Group", "rhoai-users"), _subject("Group", "rhoai-admins")
    yield _binding("gatehouse-local-users-view", _cluster_role("view"), users)
    # The API server also makes this namespace, but some time after becoming ready.
    yield {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default"}}
    yield _binding("gatehouse-local-users-deploy", _cluster_role("gatehouse-deployer"), users, namespace="default")
    scientists = _subject("Group", "data-scientists")
    yield _binding("gatehouse-local-scientists-view", _cluster_role("view"), scientists)
    yield _binding(
        "gatehouse-local-scientists-submit", _cluster_role("gatehouse-submitter"), scientists, namespace="default"
    )
    yield _binding("gatehouse-local-admins-view", _cluster_role("view"), admins)
    for role in ("gatehouse-admin", "gatehouse-approver", "gatehouse-classifier", "gatehouse-stage-admin"):
        yield _binding(f"gatehouse-local-admins-{role.removeprefix('gatehouse-')}", _cluster_role(role), admins)


def registry_access(namespace: str, *, operator_user: str) -> Manifest:
    """Lets the operator's user read the Secrets of a namespace with a ModelRegistry."""
    return _binding(
        "gatehouse-registry-secrets",
        _cluster_role("gatehouse-registry-secrets"),
        _subject("User", operator_user),
        namespace=namespace,
    )


def with_operator(policy: Manifest, user: str) -> Manifest:
    """A ValidatingAdmissionPolicy that also accepts `user` as the operator; any other object unchanged.

    The policy's variable `operators` names the operator: a CEL list of user names.
    """
    variables = policy["spec"].get("variables", ()) if policy["kind"] == "ValidatingAdmissionPolicy" else ()
    if not any(variable["name"] == _OPERATORS for variable in variables):
        return policy
    return {**policy, "spec": {**policy["spec"], "variables": [_joined(variable, user) for variable in variables]}}


def _joined(variable: Mapping[str, str], user: str) -> Mapping[str, str]:
    if variable["name"] != _OPERATORS:
        return variable
    return {**variable, "expression": f"{variable['expression']} + ['{user}']"}


def registry(endpoint: S3Endpoint, database: LocalDatabase | None, *, hook_token: str = "") -> Iterator[Manifest]:
    """The default ModelRegistry `local` with its Secrets; without a database the operator's SQLite has its rows.

    With `hook_token` the registry takes the store's events.
    """
    credentials = endpoint.credentials
    yield _secret(
        _OBJECT_STORE_SECRET,
        {
            "AWS_ACCESS_KEY_ID": credentials.access_key,
            "AWS_SECRET_ACCESS_KEY": credentials.secret_key,
            "AWS_S3_ENDPOINT": endpoint.url,
            "AWS_S3_BUCKET": BUCKET,
            "AWS_DEFAULT_REGION": endpoint.region,
        },
    )
    spec: Manifest = {
        "allowedNamespaces": {"from": "All"},
        "defaults": {"namespace": "default", "hardwareProfileRef": "nvidia-l4"},
        "objectStores": [
            {
                "uriPrefix": f"s3://{BUCKET}/",
                "endpoint": endpoint.url,
                **({} if endpoint.url.startswith("https://") else {"tls": "Disabled"}),
                "region": endpoint.region,
                "credentialsSecret": {"name": _OBJECT_STORE_SECRET},
            }
        ],
    }
    if hook_token:
        yield _secret(_HOOK_SECRET, {_TOKEN_KEY: hook_token})
        spec["hooks"] = {"tokenSecret": {"name": _HOOK_SECRET, "key": _TOKEN_KEY}}
    if database is not None:
        yield _secret(_DATABASE_SECRET, {_PASSWORD_KEY: database.password})
        spec["mysql" if database.kind == "mariadb" else "postgres"] = {
            "host": database.host,
            "port": database.port,
            "database": database.database,
            "username": database.username,
            "tls": "Disabled",
            "passwordSecret": {"name": _DATABASE_SECRET, "key": _PASSWORD_KEY},
        }
    yield {
        "apiVersion": "gatehouse.dev/v1alpha1",
        "kind": "ModelRegistry",
        "metadata": {
            "name": REGISTRY,
            "namespace": NAMESPACE,
            "labels": _LABELS,
            "annotations": {"gatehouse.dev/default-registry": "true"},
        },
        "spec": spec,
    }


def _binding(
    name: str, role: Mapping[str, str], subject: Mapping[str, str], *, namespace: str | None = None
) -> Manifest:
    """A RoleBinding in the namespace, a ClusterRoleBinding without one."""
    metadata: Manifest = {"name": name, "labels": _LABELS}
    if namespace is not None:
        metadata["namespace"] = namespace
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding" if namespace is None else "RoleBinding",
        "metadata": metadata,
        "roleRef": dict(role),
        "subjects": [dict(subject)],
    }


def _cluster_role(name: str) -> Mapping[str, str]:
    return {"apiGroup": _RBAC, "kind": "ClusterRole", "name": name}


def _role(name: str) -> Mapping[str, str]:
    return {"apiGroup": _RBAC, "kind": "Role", "name": name}


def _subject(kind: str, name: str) -> Mapping[str, str]:
    return {"apiGroup": _RBAC, "kind": kind, "name": name}


def _secret(name: str, values: Mapping[str, str]) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": name,
            "namespace": NAMESPACE,
            "labels": {**_LABELS, "gatehouse.dev/use": "registry"},
        },
        "data": {key: base64.b64encode(value.encode()).decode() for key, value in values.items()},
    }
