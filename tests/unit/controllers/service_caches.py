"""The operator's cache of InferenceServices, versions and namespaces, filled by a test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import worlds
from gatehouse.api.model_version import ModelVersion
from gatehouse.app.cache_reader import CacheReader
from gatehouse.controllers.inference_services import INFERENCE_SERVICES, Services
from gatehouse.controllers.running_pods import PodSweep, UnapprovedPods
from gatehouse.controllers.table import WATCHES
from gatehouse.domain.common.errors import ReconcileError
from gatehouse.domain.serving.running import RunningPods
from gatehouse.domain.serving.template import ANNOTATION_DIGEST, LABEL_GATE, LABEL_STAGE
from gatehouse.runtime.informer import Informer, ListPage, WatchEvent
from gatehouse.runtime.refs import Body, ObjectKey
from gatehouse.runtime.watches import build_caches
from runtime.fakes import FakeClock

__all__ = ["SERVICES", "VERSIONS", "Cluster", "Labels", "Served", "namespace", "pods", "service", "version"]

SERVICES, VERSIONS = INFERENCE_SERVICES.plural, ModelVersion.info.plural


class Served(NamedTuple):
    """What a service loads, and the digest that it names."""

    uri: str
    digest: str


Labels = Mapping[str, tuple[str, str | None]]


class Cluster:
    """The operator's cache and informer. All kinds but the services were listed.

    ``running`` are the Pods of models, and ``unapproved`` is what the last sweep of them told.
    """

    def __init__(self, labels: Labels, *versions: Body) -> None:
        self.clock = FakeClock()
        self.caches = build_caches(WATCHES)
        self.services = Services(CacheReader(self.caches))
        self.enqueued: list[ObjectKey] = []
        self.informer = Informer(watches=WATCHES, caches=self.caches, enqueue=self.enqueued.append, clock=self.clock)
        self._revision = 0
        self.served: bool | None = True
        self.running: Sequence[RunningPods] | ReconcileError = ()
        self.unapproved: UnapprovedPods | None = None
        self.lists = 0
        self.pods = PodSweep(
            reader=CacheReader(self.caches),
            lister=_Lister(self),
            served=lambda _: self.served,
            enqueue=lambda name: self.enqueued.append(ObjectKey(VERSIONS, *name)),
            told=self._tell,
        )
        first = {"namespaces": [namespace(*each) for each in labels.items()], VERSIONS: versions}
        for watch in WATCHES:
            if not watch.optional:
                self.list(watch.kind, first.get(watch.kind, ()))
        self.settle()

    def list(self, kind: str, bodies: Sequence[Body]) -> None:
        """The API server's list is these objects."""
        items = tuple(self._numbered(each) for each in bodies)
        page = ListPage(
            kind=kind, namespace=None, items=items, resource_version=str(self._revision), first=True, last=True
        )
        self.informer.take_page(page)

    def tell(self, event: str, kind: str, body: Body) -> None:
        """A watch event."""
        self.informer.take_events(kind, [WatchEvent(type=event, body=self._numbered(body))])

    def settle(self) -> list[str]:
        """The versions that were enqueued until everything has settled, each as often as it was."""
        self.clock.advance(60)
        found = sorted(key.name for key in self.enqueued if key.kind == VERSIONS)
        self.enqueued.clear()
        return found

    def _tell(self, found: UnapprovedPods) -> None:
        self.unapproved = dict(found)

    def _numbered(self, body: Body) -> Body:
        self._revision += 1
        return {**body, "metadata": {**body["metadata"], "resourceVersion": str(self._revision)}}


@dataclass
class _Lister:
    cluster: Cluster

    async def running(self) -> tuple[RunningPods, ...]:
        self.cluster.lists += 1
        if isinstance(self.cluster.running, ReconcileError):
            raise self.cluster.running
        return tuple(sorted(self.cluster.running))


def pods(service: str, served: Served, *, at: str = "a", count: int = 1, ready: int | None = None) -> RunningPods:
    """Pods of a service that loaded what ``served`` says."""
    return RunningPods(
        namespace=at,
        service=service,
        folder=served.uri,
        digest=served.digest,
        pods=count,
        ready=count if ready is None else ready,
    )


def namespace(name: str, labels: tuple[str, str | None]) -> Body:
    stage, gate = labels
    return {"metadata": {"name": name, "labels": {LABEL_STAGE: stage} | ({} if gate is None else {LABEL_GATE: gate})}}


def service(name: str, served: Served, *, at: str = "a", **spec: Any) -> Body:
    annotations = {ANNOTATION_DIGEST: served.digest, "of": "somebody else"} if served.digest else {}
    metadata = {"name": name, "namespace": at, "uid": f"{at}/{name}", "annotations": annotations}
    return {"metadata": metadata, "spec": {"predictor": {"model": {"storageUri": served.uri}}, **spec}}


def version(name: str, uri: str, **status: Any) -> Body:
    body = worlds.version(artifact={"uri": uri}).model_dump(mode="json", by_alias=True, exclude_none=True)
    return {**body, "metadata": {"name": name, "namespace": "team", "uid": name, "generation": 1}, "status": status}
