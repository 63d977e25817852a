"""A whole engine on the fake API server."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Collection
from dataclasses import dataclass, field
from typing import Any

import kopf
from kubernetes.aio.client.configuration import Configuration
from prometheus_client import CollectorRegistry

from gatehouse.cluster.client import ApiClient
from gatehouse.cluster.inventory import KubernetesMetadata, KubernetesPresence
from gatehouse.runtime.cache import Caches
from gatehouse.runtime.controller import KeyOutcome
from gatehouse.runtime.kopf_source import KopfSource, build_settings
from gatehouse.runtime.manager import Manager, ManagerOptions, Reconciler
from gatehouse.runtime.metrics import EngineMetrics
from gatehouse.runtime.optional import OptionalSource
from gatehouse.runtime.refs import Body, Gvr
from gatehouse.runtime.watches import Watch, build_caches
from gatehouse.runtime.workqueue import Backoff
from runtime.fakeapi import WIDGETS, FakeApi

__all__ = ["Ended", "Rig", "running", "until"]

QUICK = Backoff(base=0.01, cap=0.05, jitter=0.0)


@dataclass(frozen=True)
class Ended:
    retry: bool = False
    after: float | None = None


async def until(condition: Callable[[], bool], *, what: str = "the condition") -> None:
    """Wait for a condition that other tasks and threads bring about."""
    try:
        async with asyncio.timeout(20):
            while not condition():  # noqa: ASYNC110 - what is waited for has no event
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError(f"{what} did not come about") from None


def quick_settings() -> kopf.OperatorSettings:
    """As in production, with pauses too short to wait for."""
    settings = build_settings()
    settings.networking.error_backoffs = [0.01, 0.01, 0.01]
    settings.watching.reconnect_backoff = 0.01
    return settings


@dataclass
class Rig:
    """The manager under test and what its reconciles saw."""

    api: FakeApi
    resources: tuple[Gvr, ...] = (WIDGETS,)
    optional: tuple[Gvr, ...] = ()
    options: ManagerOptions = field(default_factory=ManagerOptions)
    seen: list[tuple[str, Body | None]] = field(default_factory=list)
    synced_when_seen: list[bool] = field(default_factory=list)
    hold: asyncio.Event | None = None
    list_limit: float = 20.0
    lister: bool = False

    def __post_init__(self) -> None:
        watches = [Watch(resource=resource) for resource in self.resources]
        watches += [Watch(resource=resource, reconciled=False, optional=True) for resource in self.optional]
        self.caches: Caches = build_caches(watches)
        self.registry = CollectorRegistry()
        self.source = self.source_of(self.resources, namespaces=self.options.namespaces)
        self.client = ApiClient(Configuration(host=self.api.url)) if self.lister or self.optional else None
        self.optional_sources = [
            OptionalSource(resource=each, source=self.source_of([each]), presence=KubernetesPresence(self.client))
            for each in self.optional
            if self.client is not None
        ]
        self.manager = Manager(
            watches=watches,
            caches=self.caches,
            source=self.source,
            optional=self.optional_sources,
            lister=KubernetesMetadata(self.client) if self.lister and self.client is not None else None,
            metrics=EngineMetrics(self.registry),
            options=self.options,
        )
        for resource in self.resources:
            self.manager.add(resource.plural, Reconciler(self.reconcile_of(resource)))
        self.stop = asyncio.Event()

    def source_of(self, resources: Collection[Gvr], *, namespaces: Collection[str] = ()) -> KopfSource:
        return KopfSource(
            resources=resources,
            identity="tester",
            namespaces=namespaces,
            login=self.api.login,
            settings=quick_settings,
            backoff=QUICK,
            list_limit=self.list_limit,
        )

    def reconcile_of(self, resource: Gvr) -> Callable[[str, str], Any]:
        async def reconcile(namespace: str, name: str) -> KeyOutcome:
            self.seen.append((name, self.caches[resource.plural].get(namespace, name)))
            if self.hold is not None:
                await self.hold.wait()
            return Ended()

        return reconcile

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.seen]

    @property
    def widgets(self) -> set[str]:
        return {key.name for key in self.caches["widgets"].keys(None)}

    async def idle(self) -> None:
        await until(lambda: self.manager.idle, what="an idle engine")

    def events(self, event_type: str, kind: str = "widgets") -> float:
        labels = {"kind": kind, "type": event_type}
        return self.registry.get_sample_value("gatehouse_watch_events_total", labels) or 0.0


@contextlib.asynccontextmanager
async def running(rig: Rig) -> AsyncIterator[Rig]:
    """Run the manager and stop it at the end."""
    task = asyncio.create_task(rig.manager.run(rig.stop))
    try:
        yield rig
    finally:
        rig.stop.set()
        await task
        if rig.client is not None:
            await rig.client.aclose()
