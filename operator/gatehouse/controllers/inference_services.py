"""Which stages run which artifacts: the InferenceServices in namespaces that are labelled with a stage.

They are listed now and then, not watched: KServe need not be there, and what runs is reported, never changed.

A service behind an enforced gate, with the digest of a version that is cleared, was let in by admission, or would be.
That is what a version remembers of it: whatever else runs, in a namespace whose gate only warns or that came to be
enforced later, was let in by nobody.
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
    """Lists what runs. Raises ``Transient``."""

    async def services(self) -> Mapping[str, frozenset[Served]]:
        """Namespace to what its InferenceServices serve; nothing where there is no KServe."""
        ...


@dataclass(frozen=True, slots=True)
class _Found:
    """Of one URI: the stages that run it, and (stage, namespace, digest) of each service behind an enforced gate."""

    stages: tuple[str, ...] = ()
    enforced: tuple[tuple[str, str, str], ...] = ()


_NOTHING: Final = _Found()


class ServiceSweep:
    """Keeps which artifact is deployed to which stages; ``enqueue`` is told each version whose stages changed."""

    def __init__(self, *, reader: ObjectReader, lister: ServiceLister, enqueue: Callable[[ObjectName], None]) -> None:
        self._reader = reader
        self._lister = lister
        self._enqueue = enqueue
        self._found: Mapping[str, _Found] | None = None

    async def sweep(self) -> None:
        """Lists once. Raises what listing raises."""
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
        found = {uri: _Found(tuple(sorted(each)), tuple(sorted(enforced[uri]))) for uri, each in stages.items()}
        before, self._found = self._found or {}, found
        for uri in before.keys() | found.keys():
            if before.get(uri) != found.get(uri):
                for name in self._reader.select(ModelVersion.info.plural, BY_SERVED, uri):
                    self._enqueue(name)

    def deployed_to(self, version: ModelVersion) -> list[str]:
        """Stages that run the version's artifact; what its status says before the first sweep."""
        if self._found is None:
            return list(version.status.deployed_to)
        return list(self._of(version).stages)

    def served_in(self, version: ModelVersion, *, digest: str | None) -> tuple[tuple[str, str], ...] | None:
        """Stage and namespace of each service with the version's artifact and digest, where the gate is enforced.

        None before the first sweep: not known.
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
