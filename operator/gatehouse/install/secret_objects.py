"""Reads and writes Secrets and ConfigMaps of an installation without losing another client's write."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, Literal, Protocol, TypeVar

from gatehouse.cluster.client import ApiError, Patch
from gatehouse.install.errors import SecretIncomplete

__all__ = [
    "CONFIG_MAPS",
    "MANAGED_BY",
    "MANAGER",
    "SECRETS",
    "Body",
    "Done",
    "SecretApi",
    "SecretOutcome",
    "encoded",
    "find",
    "managed",
    "settled",
]

MANAGED_BY: Final = "app.kubernetes.io/managed-by"
MANAGER: Final = "gatehouse-credentials"
"""Value of app.kubernetes.io/managed-by on each Secret and ConfigMap that this package made."""
SECRETS: Final = "secrets"
CONFIG_MAPS: Final = "configmaps"
_ATTEMPTS: Final = 5

Body = Mapping[str, Any]
Done = Literal["created", "updated", "kept"]
T = TypeVar("T")


class SecretApi(Protocol):
    """The required calls of the Kubernetes API."""

    async def get(self, plural: str, namespace: str = "", name: str = "") -> dict[str, Any]: ...

    async def create(self, plural: str, namespace: str, body: Body) -> dict[str, Any]: ...

    async def update(self, plural: str, namespace: str, name: str, body: Body) -> dict[str, Any]: ...

    async def patch(self, plural: str, namespace: str, name: str, body: object, *, kind: Patch) -> dict[str, Any]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretOutcome:
    """The action on one Secret, or on the ConfigMap of a public key, and its reason where a choice existed."""

    namespace: str
    name: str
    done: Done
    kind: Literal["Secret", "ConfigMap"] = "Secret"
    why: str = ""

    def __str__(self) -> str:
        return f"{self.done} {self.kind} {self.namespace}/{self.name}{f': {self.why}' if self.why else ''}"


async def find(api: SecretApi, plural: str, namespace: str, name: str) -> dict[str, Any] | None:
    """The object, or None."""
    try:
        return await api.get(plural, namespace, name)
    except ApiError as error:
        if error.status == HTTPStatus.NOT_FOUND:
            return None
        raise


async def settled(once: Callable[[], Awaitable[T]], *, what: str) -> T:
    """The result of ``once``, which reads and writes. Retries after a write of another client between the two steps.

    Raises:
        SecretIncomplete: another client wrote during every attempt.
    """
    for _ in range(_ATTEMPTS):
        try:
            return await once()
        except ApiError as error:
            if error.status != HTTPStatus.CONFLICT:
                raise
    raise SecretIncomplete(
        f"{what} changes all the time; stop the other process that changes it, and run the command again"
    )


def managed(
    kind: str,
    namespace: str,
    name: str,
    data: Mapping[str, str],
    *,
    labels: Mapping[str, str] | None = None,
    annotations: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """A Secret or a ConfigMap with a label that names its maker."""
    own = {"app.kubernetes.io/part-of": "gatehouse", MANAGED_BY: MANAGER}
    return {
        "apiVersion": "v1",
        "kind": kind,
        "metadata": {
            "namespace": namespace,
            "name": name,
            "labels": {**(labels or {}), **own},
            "annotations": dict(annotations or {}),
        },
        "data": dict(data),
    }


def encoded(values: Mapping[str, str]) -> dict[str, str]:
    """Values in the encoding of a Secret."""
    return {key: b64encode(value.encode()).decode() for key, value in values.items()}
