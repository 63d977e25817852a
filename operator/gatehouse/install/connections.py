"""KServe's connection for loading artifacts: a key of the Secret storage-config, or OpenShift AI's data connection.

On plain KServe no controller creates storage-config. OpenShift AI creates storage-config from its data connections and
reverts the writes of others. Values are never logged and never part of an error.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from binascii import Error as NotBase64
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, Literal

from gatehouse.cluster.client import ApiError
from gatehouse.install.errors import ForeignSecret
from gatehouse.install.secret_objects import SecretApi
from gatehouse.storage.providers.provider import Connection

__all__ = [
    "STORAGE_CONFIG",
    "Form",
    "WrittenConnection",
    "decoded",
    "ensure_connection",
    "manifest",
]

STORAGE_CONFIG: Final = "storage-config"
"""The Secret that KServe reads, unless its ConfigMap names another in credentials.storageSpecSecretName."""
MANAGED: Final = "opendatahub.io/managed"
"""Label of OpenShift AI's data connections, and of the storage-config made from them."""

Form = Literal["kserve", "openshift-ai"]
Manifest = dict[str, Any]
_MERGE: Final = "application/merge-patch+json"


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenConnection:
    """The action, and the names of the fields that differed; never their values."""

    namespace: str
    name: str
    key: str
    done: Literal["created", "updated", "kept"]
    fields: tuple[str, ...] = ()

    def __str__(self) -> str:
        entry = f" with the key {self.key}" if self.key != self.name else ""
        changed = f": {', '.join(self.fields)}" if self.fields else ""
        return f"{self.done} Secret {self.namespace}/{self.name}{entry}{changed}"


def manifest(connection: Connection, *, namespace: str, form: Form) -> Manifest:
    """The Secret, with every value in it."""
    if form == "kserve":
        data = {connection.key: json.dumps(connection.of_kserve())}
        return _secret(STORAGE_CONFIG, namespace, data)
    made = _secret(connection.key, namespace, connection.of_openshift_ai())
    made["metadata"]["labels"] |= {"opendatahub.io/dashboard": "true", MANAGED: "true"}
    made["metadata"]["annotations"] = {
        "opendatahub.io/connection-type": connection.provider.connection_type,
        "opendatahub.io/connection-type-protocol": connection.provider.connection_type,
        "openshift.io/display-name": connection.key,
    }
    return made


async def ensure_connection(api: SecretApi, connection: Connection, *, namespace: str, form: Form) -> WrittenConnection:
    """Ensures the connection in the namespace. Other entries of storage-config stay unchanged.

    Raises:
        ForeignSecret: OpenShift AI makes storage-config there, or the Secret of that name has another purpose.
        ApiError: the API server refused, for example because only an administrator of the stage may write the Secret.
    """
    body = manifest(connection, namespace=namespace, form=form)
    name = body["metadata"]["name"]
    for _ in range(2):
        existing = await _existing(api, namespace, name)
        if existing is not None:
            return await _updated(api, connection, body, existing, form=form)
        try:
            await api.create("secrets", namespace, body)
        except ApiError as error:
            if error.status != HTTPStatus.CONFLICT:
                raise
            continue
        return WrittenConnection(namespace=namespace, name=name, key=connection.key, done="created")
    raise ForeignSecret(
        f"Secret {namespace}/{name} was created and deleted by another program meanwhile; run the command again"
    )


async def _existing(api: SecretApi, namespace: str, name: str) -> Manifest | None:
    try:
        return await api.get("secrets", namespace, name)
    except ApiError as error:
        if error.status != HTTPStatus.NOT_FOUND:
            raise
        return None


async def _updated(
    api: SecretApi, connection: Connection, body: Manifest, existing: Mapping[str, Any], *, form: Form
) -> WrittenConnection:
    metadata = body["metadata"]
    namespace, name = metadata["namespace"], metadata["name"]
    managed = (existing["metadata"].get("labels") or {}).get(MANAGED) == "true"
    if form == "kserve" and managed:
        raise ForeignSecret(
            f"OpenShift AI makes Secret {namespace}/{name} from its data connections and would revert the change;"
            " use --for openshift-ai"
        )
    if form == "openshift-ai" and not managed:
        raise ForeignSecret(
            f"Secret {namespace}/{name} exists and is no data connection (the label {MANAGED}=true is missing);"
            " choose another name, or delete the Secret"
        )
    differing = _differing(body, existing, connection.key if form == "kserve" else "")
    if not differing:
        return WrittenConnection(namespace=namespace, name=name, key=connection.key, done="kept")
    data = {key: b64encode(value.encode()).decode() for key, value in body["stringData"].items()}
    await api.patch("secrets", namespace, name, {"data": data}, kind=_MERGE)
    return WrittenConnection(namespace=namespace, name=name, key=connection.key, done="updated", fields=differing)


def _differing(body: Mapping[str, Any], existing: Mapping[str, Any], entry: str) -> tuple[str, ...]:
    """Names of the fields that differ in the existing Secret."""
    given: dict[str, str] = dict(body["stringData"])
    there = {key: decoded(value) for key, value in (existing.get("data") or {}).items()}
    if entry:
        given, there = json.loads(given[entry]), _entry(there.get(entry, ""))
    names = given.keys() | (there.keys() if entry else ())
    return tuple(sorted(name for name in names if given.get(name) != there.get(name)))


def _entry(text: str) -> dict[str, Any]:
    try:
        parsed = json.loads(text or "{}")
    except ValueError:
        return {}
    return parsed if isinstance(parsed, dict) else {}


def decoded(value: str) -> str:
    """The text of a Secret's value; empty where the value is not the base64 of a text."""
    try:
        return b64decode(value, validate=True).decode()
    except (NotBase64, UnicodeDecodeError):
        return ""


def _secret(name: str, namespace: str, data: Mapping[str, str]) -> Manifest:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {"app.kubernetes.io/part-of": "gatehouse"},
        },
        "type": "Opaque",
        "stringData": dict(data),
    }
