"""Server-side apply that waits for missing parts of the cluster and keeps the changes of other field managers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol

from gatehouse.actions.manifests import Declared
from gatehouse.actions.polling import Patience
from gatehouse.cluster.client import ApiError, ApiUnavailable, ClusterError, Patch
from gatehouse.errors import ApplyRefused

__all__ = ["Applied", "ObjectApi", "apply", "refusal", "why_wait"]

FORBIDDEN_SECONDS: Final = 15.0
"""Seconds for which a forbidden request is retried: its role binding may be created at the same time."""

_CONFLICT: Final = "Apply failed with "
_UNKNOWN_FIELD: Final = "field not declared in schema"


class ObjectApi(Protocol):
    """The requests to the Kubernetes API that publishing makes. Each raises ClusterError."""

    async def get(
        self, plural: str, namespace: str = "", name: str = "", *, params: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        """Reads an object."""
        ...

    async def create(self, plural: str, namespace: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Creates an object."""
        ...

    async def patch(
        self,
        plural: str,
        namespace: str,
        name: str,
        body: object,
        *,
        kind: Patch,
        subresource: str = "",
        params: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """Patches or applies an object."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """The result of an apply. ``kept`` says why the object keeps other values; None when it is as declared."""

    declared: Declared
    kept: str | None = None


async def apply(api: ObjectApi, declared: Declared, *, manager: str, patience: Patience) -> Applied:
    """Applies an object as a field manager, without force.

    Waits while the API server, the kind or the namespace does not exist. If another field manager set a declared field
    to another value, the whole object stays as it is.

    Raises NotRegistered when the time is over, and ApplyRefused for an object that the API server would always refuse.
    """
    since = patience.now()
    while True:
        try:
            await api.patch(
                *declared.key,
                declared.body,
                kind="application/apply-patch+yaml",
                params={"fieldManager": manager, "fieldValidation": "Strict"},
            )
        except ClusterError as error:
            conflict = _conflict(error)
            if conflict is not None:
                return Applied(declared=declared, kept=conflict)
            why = why_wait(error, declared, waited=patience.now() - since)
            if why is None:
                raise ApplyRefused(refusal(error, declared)) from error
            await patience.wait(why)
        else:
            return Applied(declared=declared)


def why_wait(error: ClusterError, declared: Declared, *, waited: float) -> str | None:
    """The missing part and what to do about it, if the same request can succeed later; None if it cannot.

    ``waited`` is how many seconds the request was tried for.
    """
    if isinstance(error, ApiUnavailable):
        return f"{error}"
    if not isinstance(error, ApiError):
        return None
    kind = declared.kind.info
    match _nature(error):
        case "Kind":
            return (
                f"the cluster does not know {kind.plural}.gatehouse.dev yet: its CustomResourceDefinition comes with "
                "the installation (gatehouse crds | kubectl apply --server-side -f -)"
            )
        case "Namespace":
            return f"namespace {declared.namespace} does not exist yet (kubectl create namespace {declared.namespace})"
        case "Rights":
            return _said(error, declared) if waited < FORBIDDEN_SECONDS else None
        case "Passing":
            return _said(error, declared)
        case "Final":
            return None


def _nature(error: ApiError) -> Literal["Kind", "Namespace", "Rights", "Passing", "Final"]:
    if error.status == 404:
        return "Namespace" if error.message.startswith("namespaces ") else "Kind"
    if error.status == 403:
        return "Passing" if "being terminated" in error.message else "Rights"
    passing = error.status in {409, 429} or error.status >= 500
    return "Passing" if passing and _UNKNOWN_FIELD not in error.message else "Final"


def _said(error: ApiError, declared: Declared) -> str:
    return f"{declared}: the API server answered {error.status} {error.reason}: {error.message}"


def _conflict(error: ClusterError) -> str | None:
    if not isinstance(error, ApiError) or error.status != 409 or not error.message.startswith(_CONFLICT):
        return None
    details = " ".join(error.message.partition(":")[2].split())
    return f"another field manager set declared fields to other values: {details}"


def refusal(error: ClusterError, declared: Declared) -> str:
    """Why the API server refused an object, and what to do about it."""
    where = f" (from {declared.source})" if declared.source else ""
    if not isinstance(error, ApiError):
        return f"{declared}{where}: {error}"
    if error.status == 404:
        return f"{declared}: {why_wait(error, declared, waited=0)}"
    return f"{_said(error, declared)}{where}{_REMEDIES.get(error.status, '')}"


_REMEDIES: Final[Mapping[int, str]] = {
    401: "; the API server does not accept the credentials: log in again",
    403: "; you need get, create, patch on registeredmodels and modelversions, and create, patch on hardwareprofiles",
}
