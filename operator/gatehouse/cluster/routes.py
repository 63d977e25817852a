"""Writes and deletes the routes of deployments: HTTPRoutes of the Gateway API, and Routes of OpenShift."""

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

__all__ = ["KubernetesRoutes"]

_PLURALS: Final = {"HTTPRoute": "httproutes", "Route": "routes"}
_MERGE: Final = "application/merge-patch+json"
_IMMUTABLE: Final = "metadata.uid: Invalid value"
"""What the API server says for a merge patch with the uid of another object."""
_KIND_COMES: Final = timedelta(seconds=15)
_PARAMS: Final = {"fieldManager": FIELD_MANAGER}


class KubernetesRoutes:
    """Implements the port ``RouteWriter``. ``written`` receives each route after the write, by its plural."""

    def __init__(self, client: ApiClient, *, written: Callable[[str, dict[str, Any]], object]) -> None:
        self._client = client
        self._written = written

    async def put_route(self, namespace: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """Creates a route, or patches the route that still has the uid in ``body``; returns the result.

        :raises Stalled: AdmissionRefused, or ApiRefused for what the kind does not allow.
        :raises Waiting: KindNotFound, the API server does not serve the kind.
        :raises Superseded: a route of the name exists, or the one of this uid does not.
        :raises Transient: the API server does not answer.
        """
        plural, name = _PLURALS[body["kind"]], body["metadata"]["name"]
        exists = "uid" in body["metadata"]
        try:
            if exists:
                answer = await self._client.patch(plural, namespace, name, body, kind=_MERGE, params=_PARAMS)
            else:
                answer = await self._client.create(plural, namespace, body, params=_PARAMS)
        except ClusterError as error:
            doing = f"writing the {body['kind']} {namespace}/{name}"
            raise _reconcile_error(error, doing=doing, exists=exists) from error
        self._written(plural, answer)
        return answer

    async def delete_route(self, namespace: str, name: str, *, method: str, uid: str) -> None:
        """Deletes the route if it exists and has this uid. Raises ``Transient``."""
        await delete_same(self._client, _PLURALS[method], namespace, name, uid=uid)


def _reconcile_error(error: ClusterError, *, doing: str, exists: bool) -> ReconcileError:
    if is_denial(error):
        return Stalled(
            reason=ADMISSION_REFUSED,
            message=f"{doing}: {error}"[:LONGEST_REFUSAL],
            remedy="ask who administers the cluster's admission policies whether the host is allowed",
        )
    if exists and isinstance(error, ApiError) and (error.status == HTTPStatus.NOT_FOUND or _IMMUTABLE in error.message):
        return Superseded(reason="Conflict", message=f"{doing}: the route is gone, or replaced by another one")
    if isinstance(error, ApiError) and error.status == HTTPStatus.NOT_FOUND:
        return Waiting(
            reason="KindNotFound",
            message=f"{doing}: the API server does not serve the kind",
            after=_KIND_COMES,
            remedy="install the Gateway API, or use OpenShift",
        )
    return to_reconcile_error(error, doing=doing)
