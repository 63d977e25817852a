"""Reads and writes what runs a model: ControllerRevisions, ServingRuntimes and InferenceServices."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from http import HTTPStatus
from typing import Any, Final

from gatehouse.cluster.client import ApiClient, ApiError, ClusterError
from gatehouse.cluster.deletion import delete_same
from gatehouse.cluster.errors import LONGEST_REFUSAL, is_denial, to_reconcile_error
from gatehouse.cluster.writer import FIELD_MANAGER
from gatehouse.domain.common.errors import ReconcileError, Stalled, Superseded, Waiting
from gatehouse.domain.deployment.standing import ADMISSION_REFUSED

__all__ = ["KubernetesServing"]

_SERVICES: Final = "inferenceservices"
_RUNTIMES: Final = "servingruntimes"
_REVISIONS: Final = "controllerrevisions"
_APPLY: Final = "application/apply-patch+yaml"
_KIND_COMES: Final = timedelta(seconds=15)


class KubernetesServing:
    """Implements the port ``ServingCluster``. ``written`` receives each InferenceService after the write."""

    def __init__(self, client: ApiClient, *, written: Callable[[str, dict[str, Any]], object]) -> None:
        self._client = client
        self._written = written

    async def template(self, namespace: str, name: str) -> Mapping[str, Any] | None:
        """The ConfigMap with a serving template. Raises ``Transient``."""
        return await self._found("configmaps", namespace, name)

    async def revision(self, namespace: str, name: str) -> Mapping[str, Any] | None:
        """A ControllerRevision. Raises ``Transient``."""
        return await self._found(_REVISIONS, namespace, name)

    async def rollout(self, namespace: str, name: str) -> Mapping[str, Any] | None:
        """A Deployment. Raises ``Transient``."""
        return await self._found("deployments", namespace, name)

    async def keep_revision(self, namespace: str, body: Mapping[str, Any]) -> None:
        """Creates a ControllerRevision. Raises ``Superseded`` where one of that name exists."""
        try:
            await self._client.create(
                _REVISIONS, namespace, body, params={"fieldManager": FIELD_MANAGER}, metadata_only=True
            )
        except ClusterError as error:
            raise _reconcile_error(error, doing=f"writing revision {namespace}/{body['metadata']['name']}") from error

    async def forget_revision(self, namespace: str, name: str, *, owner_uid: str) -> None:
        """Deletes a ControllerRevision if it exists and belongs to the owner. Raises ``Transient``."""
        current = await self._found(_REVISIONS, namespace, name)
        if current is None or owner_uid not in {
            owner.get("uid") for owner in current["metadata"].get("ownerReferences") or ()
        }:
            return
        try:
            await self._client.delete(_REVISIONS, namespace, name, preconditions={"uid": current["metadata"]["uid"]})
        except ClusterError as error:
            if not _is_absent(error):
                raise _reconcile_error(error, doing=f"deleting revision {namespace}/{name}") from error

    async def put_runtime(self, namespace: str, body: Mapping[str, Any]) -> None:
        """Applies a ServingRuntime. Raises ``Stalled`` (AdmissionRefused), ``Waiting`` (KServeNotFound)."""
        await self._apply(_RUNTIMES, namespace, body, force=True)

    async def put_service(self, namespace: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """Applies an InferenceService and returns the result. Raises the errors of ``put_runtime``.

        A service with a uid must still have it. Without one, no other writer may have made a different service.
        """
        answer = await self._apply(_SERVICES, namespace, body, force="uid" in body["metadata"])
        self._written(_SERVICES, answer)
        return answer

    async def delete_service(self, namespace: str, name: str, *, uid: str) -> None:
        """Deletes the InferenceService if it exists and has this uid. Raises ``Transient``."""
        await delete_same(self._client, _SERVICES, namespace, name, uid=uid)

    async def _apply(self, plural: str, namespace: str, body: Mapping[str, Any], *, force: bool) -> dict[str, Any]:
        name = body["metadata"]["name"]
        params = {"fieldManager": FIELD_MANAGER, **({"force": "true"} if force else {})}
        try:
            return await self._client.patch(plural, namespace, name, body, kind=_APPLY, params=params)
        except ClusterError as error:
            raise _reconcile_error(error, doing=f"writing {plural} {namespace}/{name}") from error

    async def _found(self, plural: str, namespace: str, name: str) -> Mapping[str, Any] | None:
        try:
            return await self._client.get(plural, namespace, name)
        except ClusterError as error:
            if _is_absent(error):
                return None
            raise to_reconcile_error(error, doing=f"reading {plural} {namespace}/{name}") from error


def _is_absent(error: ClusterError) -> bool:
    return isinstance(error, ApiError) and error.status == HTTPStatus.NOT_FOUND


def _reconcile_error(error: ClusterError, *, doing: str) -> ReconcileError:
    if is_denial(error):
        return Stalled(
            reason=ADMISSION_REFUSED,
            message=f"{doing}: {error}"[:LONGEST_REFUSAL],
            remedy="gatehouse explain says whether the version is cleared; see docs/admission.md for the lists",
        )
    if _is_absent(error):
        return Waiting(
            reason="KServeNotFound",
            message=f"{doing}: the API server does not serve the kind",
            after=_KIND_COMES,
            remedy="install KServe",
        )
    if isinstance(error, ApiError) and error.status == HTTPStatus.CONFLICT:
        return Superseded(reason="Conflict", message=f"{doing}: {error.message}"[:LONGEST_REFUSAL])
    return to_reconcile_error(error, doing=doing)
