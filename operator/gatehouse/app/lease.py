"""The Lease of the operator, through the client of the cluster."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from gatehouse.cluster.client import ApiClient, ApiError, ClusterError
from gatehouse.runtime.lease import LeaseConflict, LeaseRecord, LeaseUnavailable

__all__ = ["KubernetesLease"]

_MICRO_TIME: Final = "%Y-%m-%dT%H:%M:%S.%fZ"


class KubernetesLease:
    """Implements the engine's ``LeaseClient``."""

    def __init__(self, client: ApiClient, *, namespace: str, name: str) -> None:
        self._client = client
        self._namespace = namespace
        self._name = name

    async def get(self) -> LeaseRecord | None:
        """The record, or None when the Lease does not exist."""
        try:
            return _record(await self._client.get("leases", self._namespace, self._name))
        except ApiError as error:
            if error.status == 404:
                return None
            raise LeaseUnavailable(str(error)) from error
        except ClusterError as error:
            raise LeaseUnavailable(str(error)) from error

    async def create(self, record: LeaseRecord, /) -> LeaseRecord:
        """Creates the Lease."""
        try:
            return _record(await self._client.create("leases", self._namespace, self._body(record)))
        except ClusterError as error:
            raise _lease_error(error) from error

    async def update(self, record: LeaseRecord, /) -> LeaseRecord:
        """Replaces the Lease of that resourceVersion."""
        try:
            return _record(await self._client.update("leases", self._namespace, self._name, self._body(record)))
        except ClusterError as error:
            raise _lease_error(error) from error

    def _body(self, record: LeaseRecord) -> dict[str, Any]:
        metadata = {"name": self._name, "namespace": self._namespace}
        if record.resource_version:
            metadata["resourceVersion"] = record.resource_version
        spec: dict[str, Any] = {
            "holderIdentity": record.holder,
            "leaseDurationSeconds": record.duration_seconds,
            "leaseTransitions": record.transitions,
        }
        if record.acquired_at:
            spec["acquireTime"] = record.acquired_at.strftime(_MICRO_TIME)
        if record.renewed_at:
            spec["renewTime"] = record.renewed_at.strftime(_MICRO_TIME)
        return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec}


def _lease_error(error: ClusterError) -> Exception:
    if isinstance(error, ApiError) and error.status in (404, 409):
        return LeaseConflict(str(error))
    return LeaseUnavailable(str(error))


def _record(body: Mapping[str, Any]) -> LeaseRecord:
    spec = body.get("spec") or {}
    return LeaseRecord(
        holder=spec.get("holderIdentity") or "",
        duration_seconds=spec.get("leaseDurationSeconds") or 0,
        acquired_at=_time(spec.get("acquireTime")),
        renewed_at=_time(spec.get("renewTime")),
        transitions=spec.get("leaseTransitions") or 0,
        resource_version=body["metadata"].get("resourceVersion", ""),
    )


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
