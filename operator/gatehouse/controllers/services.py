"""Which stages run which artifacts: the InferenceServices in namespaces that are labelled with a stage.

They are listed now and then, not watched: KServe need not be there, and what runs is reported, never changed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from gatehouse.api.model_version import ModelVersion
from gatehouse.controllers.indexes import BY_SERVED
from gatehouse.controllers.ports import ObjectName, ObjectReader
from gatehouse.domain.access import folder_of
from gatehouse.domain.serving import LABEL_STAGE

__all__ = ["ServiceLister", "ServiceSweep"]


class ServiceLister(Protocol):
    """Lists what runs. Raises ``Transient``."""

    async def services(self) -> Mapping[str, frozenset[str]]:
        """Namespace to the storage URIs of its InferenceServices; nothing where there is no KServe."""
        ...


class ServiceSweep:
    """Keeps which artifact is deployed to which stages; ``enqueue`` is told each version whose stages changed."""

    def __init__(self, *, reader: ObjectReader, lister: ServiceLister, enqueue: Callable[[ObjectName], None]) -> None:
        self._reader = reader
        self._lister = lister
        self._enqueue = enqueue
        self._deployed: Mapping[str, tuple[str, ...]] | None = None

    async def sweep(self) -> None:
        """Lists once. Raises what listing raises."""
        found: dict[str, set[str]] = {}
        for namespace, uris in (await self._lister.services()).items():
            stage = self._stage(namespace)
            for uri in uris if stage else ():
                found.setdefault(folder_of(uri), set()).add(stage)
        before, self._deployed = self._deployed or {}, {uri: tuple(sorted(stages)) for uri, stages in found.items()}
        for uri in before.keys() | self._deployed.keys():
            if before.get(uri) != self._deployed.get(uri):
                for name in self._reader.select(ModelVersion.info.plural, BY_SERVED, uri):
                    self._enqueue(name)

    def deployed_to(self, version: ModelVersion) -> list[str]:
        """Stages that run the version's artifact; what its status says before the first sweep."""
        if self._deployed is None:
            return list(version.status.deployed_to)
        return list(self._deployed.get(folder_of(version.spec.artifact.uri), ()))

    def _stage(self, namespace: str) -> str:
        body = self._reader.get("namespaces", "", namespace)
        labels = (body or {"metadata": {}})["metadata"].get("labels") or {}
        return str(labels.get(LABEL_STAGE, ""))
