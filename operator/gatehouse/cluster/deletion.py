"""Deletes objects, and none that has taken the place of another one."""

from __future__ import annotations

from http import HTTPStatus

from gatehouse.cluster.client import ApiClient, ApiError, ClusterError
from gatehouse.cluster.errors import to_reconcile_error

__all__ = ["delete_same"]

_GONE = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT})


async def delete_same(client: ApiClient, plural: str, namespace: str, name: str, *, uid: str) -> None:
    """Deletes the object if it exists and has this uid.

    :raises Transient: the API server does not answer, or the operator may not delete the object.
    :raises Superseded: this process does not lead.
    """
    try:
        await client.delete(plural, namespace, name, preconditions={"uid": uid})
    except ClusterError as error:
        if not (isinstance(error, ApiError) and error.status in _GONE):
            raise to_reconcile_error(error, doing=f"deleting {plural} {namespace}/{name}") from error
