"""Which Pods run which version, and which Pods run what is not cleared for the stage of their namespace.

A watch of all Pods of a cluster would cost much more than the few Pods of models are worth, so the Pods of models are
listed at intervals. A version is enqueued when the Pods change that run it. While KServe's kinds are absent no Pod is
listed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping
from types import MappingProxyType
from typing import Final, Protocol, TypeVar

import structlog

from gatehouse.api.model_version import ModelVersion
from gatehouse.controllers.indexes import BY_DIGEST, BY_SERVED
from gatehouse.controllers.inference_services import INFERENCE_SERVICES
from gatehouse.controllers.ports import ObjectName, ObjectReader, ServedKinds
from gatehouse.domain.common.locations import folder_of
from gatehouse.domain.common.readable import member
from gatehouse.domain.serving.running import RunningPods, StagedPods
from gatehouse.domain.serving.template import LABEL_GATE, LABEL_STAGE

__all__ = ["PodLister", "PodSweep", "UnapprovedPods"]

UnapprovedPods = Mapping[tuple[str, str], int]
"""How many Pods run what is not cleared for their stage, by the namespace and the name of their service."""

OFF: Final = "Off"
"""Value of the gate's label with which an administrator exempts a namespace."""
_VERSIONS: Final = ModelVersion.info.plural

K = TypeVar("K", bound=Hashable)

_log = structlog.get_logger(__name__)


class PodLister(Protocol):
    """Lists the Pods of models. Raises ``ReconcileError``."""

    async def running(self) -> tuple[RunningPods, ...]:
        """What the Pods of all services run, sorted."""
        ...


class PodSweep:
    """``told`` gets the Pods without clearance after each sweep; the metrics show them."""

    def __init__(
        self,
        *,
        reader: ObjectReader,
        lister: PodLister,
        served: ServedKinds,
        enqueue: Callable[[ObjectName], None],
        told: Callable[[UnapprovedPods], None],
    ) -> None:
        self._reader = reader
        self._lister = lister
        self._served = served
        self._enqueue = enqueue
        self._told = told
        self._known: tuple[RunningPods, ...] | None = None
        self._by_folder: Mapping[str, tuple[RunningPods, ...]] = MappingProxyType({})
        self._by_service: Mapping[ObjectName, tuple[RunningPods, ...]] = MappingProxyType({})
        self._unapproved: UnapprovedPods = MappingProxyType({})

    async def sweep(self) -> None:
        """Lists the Pods again.

        :raises ReconcileError: they cannot be listed. What is known stays, and the next sweep tries again.
        """
        found = await self._listed()
        if found is not None and found != self._known:
            self._take(found)
        if self._known is not None:
            self._tell()

    def of_version(self, version: ModelVersion) -> tuple[StagedPods, ...] | None:
        """The Pods in namespaces with a stage that run the version, sorted; None before the first list.

        Pods that run another digest from the folder of the version count as well, unless they run another version.
        """
        if self._known is None:
            return None
        folder = folder_of(version.spec.artifact.uri)
        own = ObjectName(version.metadata.namespace, version.metadata.name)
        return tuple(
            StagedPods(stage, pods)
            for pods in self._by_folder.get(folder, ())
            if (stage := self._label(pods.namespace, LABEL_STAGE)) and own in (self._versions(pods) or (own,))
        )

    def of_service(self, service: ObjectName) -> tuple[RunningPods, ...] | None:
        """What the Pods of a service run; None before the first list."""
        if self._known is None:
            return None
        return self._by_service.get(service, ())

    async def _listed(self) -> tuple[RunningPods, ...] | None:
        """What runs; nothing without KServe, and None while it is not known whether KServe is there."""
        served = self._served(INFERENCE_SERVICES.plural)
        if not served:
            return None if served is None else ()
        return await self._lister.running()

    def _take(self, found: tuple[RunningPods, ...]) -> None:
        changed = {pods.folder for pods in set(found) ^ set(self._known or ())}
        self._known = found
        self._by_folder = _grouped(found, lambda pods: pods.folder)
        self._by_service = _grouped(found, lambda pods: ObjectName(pods.namespace, pods.service))
        for folder in sorted(changed - {""}):
            for name in self._reader.select(_VERSIONS, BY_SERVED, folder):
                self._enqueue(name)

    def _tell(self) -> None:
        found = defaultdict[tuple[str, str], int](int)
        for pods in self._known or ():
            stage, gate = (self._label(pods.namespace, label) for label in (LABEL_STAGE, LABEL_GATE))
            if stage and gate != OFF and not self._is_cleared(pods, stage):
                found[pods.namespace, pods.service] += pods.pods
        for (namespace, service), count in sorted(found.items()):
            if (namespace, service) not in self._unapproved:
                _log.warning("Pods run what is not cleared", namespace=namespace, service=service, pods=count)
        self._unapproved = found
        self._told(found)

    def _is_cleared(self, pods: RunningPods, stage: str) -> bool:
        for name in self._versions(pods):
            cleared = member(self._reader.get(_VERSIONS, *name), "status", "clearedFor")
            if isinstance(cleared, list) and stage in cleared:
                return True
        return False

    def _versions(self, pods: RunningPods) -> list[ObjectName]:
        """The versions of the artifact that Pods run, with its digest."""
        return [
            name
            for name in self._reader.select(_VERSIONS, BY_SERVED, pods.folder)
            if pods.digest and pods.digest in self._reader.indexed(_VERSIONS, name, BY_DIGEST)
        ]

    def _label(self, namespace: str, label: str) -> str:
        value = member(self._reader.get("namespaces", "", namespace), "metadata", "labels", label)
        return value if isinstance(value, str) else ""


def _grouped(pods: Iterable[RunningPods], key: Callable[[RunningPods], K]) -> Mapping[K, tuple[RunningPods, ...]]:
    found = defaultdict[K, list[RunningPods]](list)
    for each in pods:
        found[key(each)].append(each)
    return {name: tuple(group) for name, group in found.items()}
