"""Which stages run which artifacts: the InferenceServices in namespaces with a stage label.

The operator lists InferenceServices at intervals and does not watch them: KServe may be absent, and Gatehouse reports
services without changing them.

Admission admits a service behind an enforced gate if the service has the digest of a cleared version. A version
remembers such services only. Admission did not check services in namespaces whose gate only warns, or whose gate was
enforced later.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from gatehouse.api.model_version import ModelVersion
from gatehouse.controllers.indexes import BY_SERVED
from gatehouse.controllers.ports import ObjectName, ObjectReader
from gatehouse.domain.common.locations import folder_of
from gatehouse.domain.serving.template import LABEL_GATE, LABEL_STAGE, UNENFORCED, Served

__all__ = ["ServiceLister", "ServiceSweep"]


class ServiceLister(Protocol):
    """Lists InferenceServices. Raises ``Transient``."""

    async def services(self) -> Mapping[str, frozenset[Served]]:
        """Namespace to the artifacts that its InferenceServices serve; empty without KServe."""
        ...


@dataclass(frozen=True, slots=True)
class _Found:
    """For one URI: the stages that run it, and (stage, namespace, digest) of each service behind an enforced gate."""

    stages: tuple[str, ...] = ()
    enforced: tuple[tuple[str, str, str], ...] = ()


_NOTHING: Final = _Found()


class ServiceSweep:
    """Records which artifact is deployed to which stages; ``enqueue`` gets each version whose stages changed."""

    def __init__(self, *, reader: ObjectReader, lister: ServiceLister, enqueue: Callable[[ObjectName], None]) -> None:
        self._reader = reader
        self._lister = lister
        self._enqueue = enqueue
        self._found: Mapping[str, _Found] | None = None

    async def sweep(self) -> None:
        """Lists once. Raises the errors of listing."""
        stages: defaultdict[str, set[str]] = defaultdict(set)
        enforced: defaultdict[str, set[tuple[str, str, str]]] = defaultdict(set)
        for namespace, services in (await self._lister.services()).items():
            labels = self._labels(namespace)
            stage = str(labels.get(LABEL_STAGE, ""))
            for served in services if stage else ():
                uri = folder_of(served.uri)
                stages[uri].add(stage)
                if labels.get(LABEL_GATE) not in UNENFORCED:
                    enforced[uri].add((stage, namespace, served.digest))
        served_at = {uri: _Found(tuple(sorted(names)), tuple(sorted(enforced[uri]))) for uri, names in stages.items()}
        before, self._found = self._found or {}, served_at
        for uri in before.keys() | served_at.keys():
            if before.get(uri) != served_at.get(uri):
                for name in self._reader.select(ModelVersion.info.plural, BY_SERVED, uri):
                    self._enqueue(name)

    def deployed_to(self, version: ModelVersion) -> list[str]:
        """Stages that run the version's artifact; before the first sweep, those of its status."""
        if self._found is None:
            return list(version.status.deployed_to)
        return list(self._of(version).stages)

    def served_in(self, version: ModelVersion, *, digest: str | None) -> tuple[tuple[str, str], ...] | None:
        """Stage and namespace of each service with the version's artifact and digest, where the gate is enforced.

        None before the first sweep: the services are not known.
        """
        if self._found is None:
            return None
        return tuple(
            dict.fromkeys((at, namespace) for at, namespace, has in self._of(version).enforced if has == digest)
        )

    def _of(self, version: ModelVersion) -> _Found:
        return (self._found or {}).get(folder_of(version.spec.artifact.uri), _NOTHING)

    def _labels(self, namespace: str) -> Mapping[str, str]:
        body = self._reader.get("namespaces", "", namespace)
        labels: Mapping[str, str] = (body or {"metadata": {}})["metadata"].get("labels") or {}
        return labels
