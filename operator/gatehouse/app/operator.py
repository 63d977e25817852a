"""Assembles the operator and runs it until a signal stops it."""

from __future__ import annotations

import asyncio
import gc
import signal
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final, TypeVar, get_args

import structlog
import uvloop
from prometheus_client import CollectorRegistry

from gatehouse.api import KINDS
from gatehouse.api.governance_policy import GovernancePolicy
from gatehouse.api.hardware_profile import HardwareProfile
from gatehouse.api.meta import Resource
from gatehouse.api.model_approval import ModelApproval
from gatehouse.api.model_evaluation import ModelEvaluation
from gatehouse.api.model_registry import ModelRegistry
from gatehouse.api.model_version import ModelVersion, Phase
from gatehouse.api.registered_model import RegisteredModel
from gatehouse.api.vetted_artifacts import VettedArtifacts
from gatehouse.app.auditing import RecordsWritten, load_signer
from gatehouse.app.cache_reader import CacheReader
from gatehouse.app.lease import KubernetesLease
from gatehouse.app.login import login_with
from gatehouse.app.logs import configure_logging
from gatehouse.app.metrics import OperatorMetrics
from gatehouse.app.periodic import PeriodicParts, periodic_work
from gatehouse.app.settings import Settings, default_identity
from gatehouse.app.shares import DatabaseShares
from gatehouse.app.watches import VERSIONS, WATCHES
from gatehouse.cluster.client import ApiClient, ClusterError, load_configuration
from gatehouse.cluster.events import KubernetesEvents
from gatehouse.cluster.inventory import KubernetesPolicies, KubernetesServices, KubernetesTemplates
from gatehouse.cluster.kserve import KubernetesKServe
from gatehouse.cluster.secrets import KubernetesSecrets
from gatehouse.cluster.writer import KubernetesWriter
from gatehouse.controllers.clients import Connections
from gatehouse.controllers.faults import Faults
from gatehouse.controllers.governance_policy import GovernancePolicyController
from gatehouse.controllers.hardware_profile import HardwareProfileController
from gatehouse.controllers.indexes import BY_STATUS, BY_UNCLEARED, RUNNING
from gatehouse.controllers.inference_services import ServiceSweep
from gatehouse.controllers.kserve_images import ClusterInitializer
from gatehouse.controllers.lookup import Objects
from gatehouse.controllers.model_registry import ModelRegistryController
from gatehouse.controllers.model_version import ModelVersionController
from gatehouse.controllers.ports import ObjectName
from gatehouse.controllers.reconciler import KindController, Runner
from gatehouse.controllers.registered_model import RegisteredModelController
from gatehouse.controllers.registry_sweep import RegistryTroubles
from gatehouse.controllers.revocations import Withdrawals
from gatehouse.controllers.rivals import Rivalries
from gatehouse.controllers.rows import RowSweep
from gatehouse.controllers.templates import TemplateSweep
from gatehouse.controllers.verification.scheduler import ArtifactLook, VerificationPool
from gatehouse.controllers.verification.slots import CheckSlots
from gatehouse.controllers.vetted_artifacts import EVERY, VettedArtifactsKeeper
from gatehouse.domain.audit.checkpoints import AuditKeyError
from gatehouse.domain.serving.template import TemplateWriter
from gatehouse.parsing.processes import WorkerParsing
from gatehouse.registry.pool import DatabasePool
from gatehouse.runtime.api_session import Login, MetadataClient
from gatehouse.runtime.cache import CacheChange, Caches, ChangeType
from gatehouse.runtime.clock import LoopClock, seconds_since_boot
from gatehouse.runtime.kopf_source import KopfSource
from gatehouse.runtime.leader import Leader, LeadershipLost
from gatehouse.runtime.manager import Manager, ManagerOptions, Reconciler
from gatehouse.runtime.metrics import EngineMetrics
from gatehouse.runtime.refs import ObjectKey
from gatehouse.runtime.watches import build_caches
from gatehouse.runtime.workqueue import Backoff
from gatehouse.storage.metrics import PrometheusStoreMetrics
from gatehouse.storage.stores import Stores

__all__ = ["run_operator"]

STOPPED: Final = 0
LOST_LEADERSHIP: Final = 1
NOT_STARTED: Final = 2
GARBAGE_THRESHOLD: Final = 10_000
"""New objects between two garbage collections. Python's 700 suits small programs."""

KEPT_IN_ROWS: Final = frozenset(kind.info.plural for kind in (ModelRegistry, RegisteredModel, ModelVersion))
"""Kinds whose reconcile waits for a database."""
REGISTRY_WORKERS: Final = 8
"""Each registry holds at most one worker while its database and its stores are silent."""

R = TypeVar("R", bound=Resource)

_log = structlog.get_logger(__name__)


class WallClock:
    """The controllers' clock."""

    def now(self) -> datetime:
        """The time in UTC."""
        return datetime.now(UTC)


def run_operator(settings: Settings) -> int:
    """Runs the operator and returns the exit code of the process."""
    configure_logging(settings.log_level)
    gc.set_threshold(GARBAGE_THRESHOLD)
    try:
        uvloop.run(_run(settings))
    except LeadershipLost as lost:
        _log.error("leadership lost", error=str(lost))
        return LOST_LEADERSHIP
    except (ClusterError, OSError, AuditKeyError) as error:
        _log.error("not started", error=str(error))
        return NOT_STARTED
    return STOPPED


async def _run(settings: Settings) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with _operator(settings) as manager:
        await manager.run(stop)


@asynccontextmanager
async def _operator(settings: Settings) -> AsyncIterator[Manager]:
    """Builds every part and closes the parts in reverse."""
    identity = default_identity()
    collectors = CollectorRegistry()
    metrics = OperatorMetrics(collectors)
    signer = load_signer(settings.audit_key)
    written = RecordsWritten(metrics)
    caches, clock = build_caches(WATCHES), WallClock()
    reader = CacheReader(caches)
    async with AsyncExitStack() as stack:
        configuration = await load_configuration(kubeconfig=settings.kubeconfig, context=settings.context)
        client = await stack.enter_async_context(ApiClient(configuration, observe=metrics.api_request))
        # A separate client, so that renewals of the lease never wait for a connection.
        lease_client = await stack.enter_async_context(
            ApiClient(configuration, connections=1, observe=metrics.api_request)
        )
        events = KubernetesEvents(client, instance=identity, dropped=metrics.event_dropped)
        events.start()
        stack.push_async_callback(events.aclose)
        enqueue = _Enqueue()
        faults = Faults(reader, on_silenced=enqueue.vetting)
        objects = Objects(reader, faults)
        engine_metrics = EngineMetrics(collectors)
        troubles = RegistryTroubles(events=events, changed=enqueue.registry, counted=engine_metrics.periodic_failed)
        connections = Connections(
            stores=Stores(PrometheusStoreMetrics(collectors)),
            databases=DatabasePool(data_dir=settings.data_dir, metrics=written),
            secrets=KubernetesSecrets(client),
            clock=clock,
            identified=settings.workload_identity_for,
            check_rows=RowSweep(
                reader=reader,
                enqueue=enqueue.object,
                clock=clock,
                namespaces=settings.namespaces,
            ),
            reread=timedelta(seconds=settings.secret_interval),
        )
        stack.push_async_callback(connections.aclose)
        parsing = WorkerParsing(on_end=metrics.parser_ended)
        stack.push_async_callback(parsing.aclose)
        checks = VerificationPool[tuple[str, str]](
            clock=clock, on_progress=enqueue.version, slots=CheckSlots(parsing=parsing)
        )
        stack.push_async_callback(checks.aclose)
        templates = TemplateSweep(reader=reader, lister=KubernetesTemplates(client), enqueue=enqueue.version)
        services = ServiceSweep(reader=reader, lister=KubernetesServices(client), enqueue=enqueue.version)
        initializer = ClusterInitializer(reader=KubernetesKServe(client), changed=enqueue.vetting)
        login = login_with(kubeconfig=settings.kubeconfig, context=settings.context)
        lister = MetadataClient(login)
        stack.push_async_callback(lister.close)
        leader = _leader(settings, lease_client, identity=identity)
        shares = DatabaseShares(caches, objects=objects, describe=connections.describe)
        parts = _Parts(
            settings,
            identity,
            caches,
            reader,
            objects,
            clock,
            client,
            events,
            connections,
            checks,
            templates,
            services,
            initializer,
            login,
            lister,
            faults,
            troubles,
            shares,
            lambda registry: enqueue.set_aside(shares.database(registry)),
            leader,
        )
        manager = _manager(
            parts,
            engine_metrics,
            PeriodicParts(
                settings=settings,
                objects=objects,
                connections=connections,
                events=events,
                clock=clock,
                troubles=troubles,
                templates=templates,
                services=services,
                initializer=initializer,
                policy_writers=KubernetesPolicies(client),
                signer=signer,
                written=written.records,
            ),
        )
        for phase in get_args(Phase):
            metrics.versions_in(phase, partial(_count, caches, phase))
        enqueue.manager = manager
        metrics.running_uncleared(partial(_running_uncleared, caches))
        for kind in KINDS:
            plural = kind.info.plural
            metrics.faults(
                plural,
                failing=partial(faults.count_failing, plural),
                unreadable=partial(faults.count_unreadable, plural),
            )
        for vetted_by in (
            VERSIONS,
            ModelRegistry.info.plural,
            GovernancePolicy.info.plural,
            HardwareProfile.info.plural,
        ):
            caches[vetted_by].subscribe(enqueue.vetted)
        rivalries = Rivalries(reader=reader, enqueue=enqueue.version)
        caches[VERSIONS].subscribe(partial(_note_version, rivalries))
        for withdrawn in (ModelApproval, ModelEvaluation):
            caches[withdrawn.info.plural].subscribe(partial(_note_deleted, parts.withdrawals))
        yield manager


def _count(caches: Caches, phase: str) -> float:
    return len(caches.select(VERSIONS, BY_STATUS, phase))


def _running_uncleared(caches: Caches) -> float:
    return len(caches.select(VERSIONS, BY_UNCLEARED, RUNNING))


def _note_version(rivalries: Rivalries, change: CacheChange) -> None:
    name = ObjectName(change.key.namespace, change.key.name)
    if change.type is ChangeType.DELETED:
        rivalries.deleted(name, change.body)
    else:
        rivalries.changed(name, change.body, lambda: change.body_before)


def _note_deleted(withdrawals: Withdrawals, change: CacheChange) -> None:
    if change.type is ChangeType.DELETED or change.body["metadata"].get("deletionTimestamp"):
        withdrawals.deleted(change.body)


class _Enqueue:
    """Enqueues objects at the manager, which is built last."""

    manager: Manager | None = None

    def version(self, key: tuple[str, str]) -> None:
        """Enqueues a version."""
        self.object(VERSIONS, ObjectName(*key))

    def registry(self, name: ObjectName) -> None:
        """Enqueues a registry."""
        self.object(ModelRegistry.info.plural, name)

    def vetted(self, _change: CacheChange) -> None:
        """Enqueues the VettedArtifacts, which depend on every version, registry, policy and profile."""
        self.vetting()

    def vetting(self) -> None:
        """Enqueues the VettedArtifacts."""
        self.object(VettedArtifacts.info.plural, ObjectName("", EVERY))

    def set_aside(self, database: str) -> int:
        """The number of objects that wait for the database's share of the workers."""
        return 0 if self.manager is None else self.manager.set_aside(database)

    def object(self, kind: str, name: ObjectName) -> None:
        """Enqueues an object."""
        if self.manager is not None:
            self.manager.enqueue(ObjectKey(kind, *name))


@dataclass(frozen=True, slots=True)
class _Parts:
    settings: Settings
    identity: str
    caches: Caches
    reader: CacheReader
    objects: Objects
    clock: WallClock
    client: ApiClient
    events: KubernetesEvents
    connections: Connections
    checks: VerificationPool[tuple[str, str]]
    template_sweep: TemplateSweep
    service_sweep: ServiceSweep
    initializer: ClusterInitializer
    login: Login
    lister: MetadataClient
    faults: Faults
    troubles: RegistryTroubles
    shares: DatabaseShares
    waiting: Callable[[ModelRegistry], int]
    leader: Leader | None
    withdrawals: Withdrawals = field(default_factory=Withdrawals)

    def reconcilers(self) -> Mapping[str, Reconciler]:
        """One reconciler per kind."""
        clock, reader, objects = self.clock, self.reader, self.objects
        # Events are not fenced: they only report, and the operator posts the last Events while it releases the Lease.
        client = self.client if self.leader is None else self.client.fenced(self.leader)
        writer = KubernetesWriter(client, written=self._written, name=self.identity)

        def runner(
            controller: KindController[R], *, workers: int, backoff: Backoff | None = None
        ) -> tuple[str, Reconciler]:
            run = Runner(controller, reader=reader, writer=writer, events=self.events, clock=clock, faults=self.faults)
            plural = controller.kind.info.plural
            return plural, Reconciler(run, workers, backoff, self.shares.groups if plural in KEPT_IN_ROWS else None)

        versions = ModelVersionController(
            objects=objects,
            connections=self.connections,
            look=ArtifactLook(connections=self.connections, checks=self.checks, patience=self.settings.patience),
            writer=writer,
            templates=TemplateWriter(),
            sweep=self.template_sweep,
            services=self.service_sweep,
            withdrawals=self.withdrawals,
            clock=clock,
        )
        return dict(
            (
                runner(
                    ModelRegistryController(
                        objects=objects,
                        connections=self.connections,
                        clock=clock,
                        interval=timedelta(seconds=self.settings.probe_interval),
                        troubles=self.troubles,
                        waiting=self.waiting,
                    ),
                    workers=REGISTRY_WORKERS,
                    # Objects that wait for a registry are enqueued when it is ready, so the registry retries often.
                    backoff=Backoff(cap=self.settings.probe_interval),
                ),
                runner(
                    RegisteredModelController(objects=objects, connections=self.connections, clock=clock), workers=4
                ),
                runner(GovernancePolicyController(objects=objects, clock=clock), workers=1),
                (
                    VettedArtifacts.info.plural,
                    Reconciler(
                        VettedArtifactsKeeper(
                            objects=objects,
                            writer=writer,
                            clock=clock,
                            faults=self.faults,
                            term=self.leader,
                            initializer=self.initializer,
                        ),
                        1,
                    ),
                ),
                runner(HardwareProfileController(reader=reader, clock=clock), workers=1),
                runner(versions, workers=self.settings.workers),
            )
        )

    def _written(self, kind: str, body: dict[str, Any]) -> None:
        self.caches[kind].put_own_write(body)


def _leader(settings: Settings, client: ApiClient, *, identity: str) -> Leader | None:
    if not settings.leader_elect:
        return None
    return Leader(
        client=KubernetesLease(client, namespace=settings.lease_namespace, name=settings.lease_name),
        identity=identity,
        clock=LoopClock(),
        options=settings.leader_options,
        elapsed=seconds_since_boot,
    )


def _manager(parts: _Parts, metrics: EngineMetrics, periodic: PeriodicParts) -> Manager:
    settings = parts.settings
    return Manager(
        watches=WATCHES,
        caches=parts.caches,
        reconcilers=parts.reconcilers(),
        source=KopfSource(
            resources=[watch.resource for watch in WATCHES],
            identity=parts.identity,
            namespaces=settings.namespaces,
            login=parts.login,
        ),
        metrics=metrics,
        leader=parts.leader,
        lister=parts.lister,
        periodic=periodic_work(periodic),
        options=ManagerOptions(
            namespaces=settings.namespaces,
            health_address=settings.health_address,
            grace=settings.shutdown_grace,
            stall_limit=settings.stall_limit,
            sweep_interval=settings.sweep_interval,
        ),
    )
