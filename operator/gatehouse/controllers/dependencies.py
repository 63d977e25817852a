"""What the controllers are built from: the adapters of the operator, and the state that several controllers share."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeVar

from gatehouse.api.meta import Resource
from gatehouse.api.model_deployment import ModelDeployment, StepVerdict
from gatehouse.api.model_registry import ModelRegistry
from gatehouse.api.model_version import ModelVersion
from gatehouse.api.vetted_artifacts import VettedArtifacts
from gatehouse.controllers.clients import Connections
from gatehouse.controllers.faults import Faults
from gatehouse.controllers.inference_services import Services
from gatehouse.controllers.kserve_images import ClusterInitializer, KServeReader
from gatehouse.controllers.lookup import Objects
from gatehouse.controllers.mirrors import MirrorStates
from gatehouse.controllers.ports import (
    ClusterWriter,
    EventRecorder,
    LeaseTerm,
    MetricSource,
    ObjectName,
    ObjectReader,
    RegistryRowsFactory,
    RouteWriter,
    SecretReader,
    ServedKinds,
    ServingCluster,
    TemplateLister,
    UtcClock,
    WebhookSource,
)
from gatehouse.controllers.reconciler import KindController, Runner
from gatehouse.controllers.registry_sweep import RegistryTroubles
from gatehouse.controllers.routes import Routes
from gatehouse.controllers.rows import RowSweep
from gatehouse.controllers.running_pods import PodLister, PodSweep, UnapprovedPods
from gatehouse.controllers.shares import DatabaseShares
from gatehouse.controllers.step_questions import StepQuestions
from gatehouse.controllers.store_hints import StoreHints
from gatehouse.controllers.templates import TemplateSweep
from gatehouse.controllers.verification.parsing import Parsing
from gatehouse.controllers.verification.scheduler import VerificationPool, VersionKey
from gatehouse.controllers.verification.slots import CheckSlots
from gatehouse.domain.deployment.route import RouteParent
from gatehouse.runtime.cache import Caches
from gatehouse.runtime.refs import ObjectKey
from gatehouse.runtime.spans import NoWorkSpans, WorkSpans
from gatehouse.storage.port import ArtifactStores

__all__ = ["EVERY", "Adapters", "Dependencies"]

R = TypeVar("R", bound=Resource)

EVERY = "*"
"""The key under which a kind is queued whose objects are reconciled together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapters:
    """The outside of the controllers: the cache, the queues, the cluster, the stores, the databases, and the settings.

    ``set_aside`` is how many objects wait for a database's share of the workers. ``failed`` counts a failure of
    periodic work, ``step_ended`` a step of a deployment (analysis or webhook) with its verdict, and
    ``unapproved`` the Pods that run what is not cleared. ``patience`` is how
    many seconds a reconcile waits for a check of an artifact. ``served`` says which optional kinds there are;
    ``default_gateway`` is the Gateway of deployments that name none.
    """

    caches: Caches
    reader: ObjectReader
    enqueue: Callable[[ObjectKey], None]
    set_aside: Callable[[Hashable], int]
    failed: Callable[[str], None]
    step_ended: Callable[[str, StepVerdict], None]
    unapproved: Callable[[UnapprovedPods], None]
    clock: UtcClock
    writer: ClusterWriter
    serving: ServingCluster
    routes: RouteWriter
    served: ServedKinds
    default_gateway: RouteParent | None
    events: EventRecorder
    secrets: SecretReader
    templates: TemplateLister
    kserve: KServeReader
    pods: PodLister
    metrics: MetricSource
    webhooks: WebhookSource
    stores: ArtifactStores
    databases: RegistryRowsFactory
    parsing: Parsing
    term: LeaseTerm | None
    namespaces: Collection[str]
    identified: Collection[str]
    patience: float
    probe_interval: timedelta
    secret_interval: timedelta
    spans: WorkSpans = field(default_factory=NoWorkSpans)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dependencies:
    """What controllers share: each of these exists once in a process."""

    adapters: Adapters
    faults: Faults
    objects: Objects
    troubles: RegistryTroubles
    connections: Connections
    shares: DatabaseShares
    checks: VerificationPool[VersionKey]
    templates: TemplateSweep
    services: Services
    pods: PodSweep
    routes: Routes
    initializer: ClusterInitializer
    hints: StoreHints
    mirrors: MirrorStates
    questions: StepQuestions

    @classmethod
    def over(cls, adapters: Adapters) -> Dependencies:
        """Builds the shared state over the adapters."""
        reader, clock, enqueue = adapters.reader, adapters.clock, adapters.enqueue
        versions, registries = ModelVersion.info.plural, ModelRegistry.info.plural

        def enqueue_version(name: VersionKey) -> None:
            enqueue(ObjectKey(versions, *name))

        def enqueue_vetted() -> None:
            enqueue(ObjectKey(VettedArtifacts.info.plural, "", EVERY))

        def enqueue_deployment(name: ObjectName) -> None:
            enqueue(ObjectKey(ModelDeployment.info.plural, *name))

        faults = Faults(reader, on_silenced=enqueue_vetted)
        objects = Objects(reader, faults)
        connections = Connections(
            stores=adapters.stores,
            databases=adapters.databases,
            secrets=adapters.secrets,
            clock=clock,
            identified=adapters.identified,
            check_rows=RowSweep(reader=reader, enqueue=enqueue, clock=clock, namespaces=adapters.namespaces),
            reread=adapters.secret_interval,
        )
        return cls(
            adapters=adapters,
            faults=faults,
            objects=objects,
            troubles=RegistryTroubles(
                events=adapters.events,
                changed=lambda name: enqueue(ObjectKey(registries, *name)),
                counted=adapters.failed,
            ),
            connections=connections,
            shares=DatabaseShares(adapters.caches, objects=objects, describe=connections.describe),
            checks=VerificationPool(
                clock=clock, on_progress=enqueue_version, slots=CheckSlots(parsing=adapters.parsing)
            ),
            templates=TemplateSweep(reader=reader, lister=adapters.templates, enqueue=enqueue_version),
            services=Services(reader),
            pods=PodSweep(
                reader=reader,
                lister=adapters.pods,
                served=adapters.served,
                enqueue=lambda name: enqueue(ObjectKey(versions, *name)),
                told=adapters.unapproved,
            ),
            routes=Routes(reader, served=adapters.served, default_gateway=adapters.default_gateway),
            initializer=ClusterInitializer(reader=adapters.kserve, changed=enqueue_vetted),
            hints=StoreHints(),
            mirrors=MirrorStates(changed=lambda name: enqueue(ObjectKey(registries, *name))),
            questions=StepQuestions(metrics=adapters.metrics, webhooks=adapters.webhooks, changed=enqueue_deployment),
        )

    def runner(self, controller: KindController[R]) -> Runner[R]:
        """The reconcile of a kind."""
        adapters = self.adapters
        return Runner(
            controller,
            reader=adapters.reader,
            writer=adapters.writer,
            events=adapters.events,
            clock=adapters.clock,
            faults=self.faults,
            spans=adapters.spans,
        )

    async def aclose(self) -> None:
        """Ends the running checks and closes every connection."""
        await self.checks.aclose()
        await self.questions.aclose()
        await self.connections.aclose()
