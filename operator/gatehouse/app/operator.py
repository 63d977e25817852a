"""Assembles the operator and runs it until a signal stops it."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Final

import structlog
import uvloop
from prometheus_client import CollectorRegistry

from gatehouse.api.model_version import ModelVersion
from gatehouse.app.auditing import RecordsWritten, load_signer
from gatehouse.app.cache_reader import CacheReader
from gatehouse.app.garbage import collect_rarely
from gatehouse.app.lease import KubernetesLease
from gatehouse.app.login import login_with
from gatehouse.app.logs import configure_logging
from gatehouse.app.metrics import OperatorMetrics
from gatehouse.app.periodic import PeriodicParts, periodic_work
from gatehouse.app.settings import Settings, default_identity
from gatehouse.cluster.catalog_sources import KubernetesCatalogSources
from gatehouse.cluster.client import ApiClient, ClusterError, load_configuration
from gatehouse.cluster.events import KubernetesEvents
from gatehouse.cluster.inventory import (
    KubernetesMetadata,
    KubernetesPolicies,
    KubernetesPresence,
    KubernetesTemplates,
)
from gatehouse.cluster.kserve import KubernetesKServe
from gatehouse.cluster.opendatahub import KubernetesOpenDataHub
from gatehouse.cluster.pods import KubernetesPods
from gatehouse.cluster.routes import KubernetesRoutes
from gatehouse.cluster.secrets import KubernetesSecrets
from gatehouse.cluster.serving import KubernetesServing
from gatehouse.cluster.writer import KubernetesWriter
from gatehouse.controllers.declaration import Declaration
from gatehouse.controllers.dependencies import Adapters, Dependencies
from gatehouse.controllers.observed import OPTIONAL, ROUTES
from gatehouse.controllers.routes import every_deployment
from gatehouse.controllers.table import DECLARATIONS, WATCHES
from gatehouse.domain.audit.checkpoints import AuditKeyError
from gatehouse.domain.deployment.route import RouteParent
from gatehouse.measures.posting import Poster
from gatehouse.measures.prometheus import PrometheusQueries
from gatehouse.measures.webhooks import WebhookQuestions
from gatehouse.mirrors.client import open_mirror
from gatehouse.parsing.processes import WorkerParsing
from gatehouse.registry.pool import DatabasePool
from gatehouse.runtime.clock import LoopClock, seconds_since_boot
from gatehouse.runtime.kopf_source import KopfSource
from gatehouse.runtime.leader import Leader, LeadershipLost
from gatehouse.runtime.manager import Manager, ManagerOptions, Reconciler
from gatehouse.runtime.metrics import EngineMetrics
from gatehouse.runtime.optional import OptionalSource
from gatehouse.runtime.refs import ObjectKey
from gatehouse.runtime.spans import SpansUnavailable, work_spans_of
from gatehouse.runtime.watches import build_caches
from gatehouse.storage.metrics import PrometheusStoreMetrics
from gatehouse.storage.stores import Stores

__all__ = ["run_operator"]

STOPPED: Final = 0
LOST_LEADERSHIP: Final = 1
NOT_STARTED: Final = 2
VERSIONS: Final = ModelVersion.info.plural

_log = structlog.get_logger(__name__)


class WallClock:
    """The controllers' clock."""

    def now(self) -> datetime:
        """The time in UTC."""
        return datetime.now(UTC)


def run_operator(settings: Settings) -> int:
    """Runs the operator and returns the exit code of the process."""
    configure_logging(settings.log_level)
    collect_rarely()
    try:
        uvloop.run(_run(settings))
    except LeadershipLost as lost:
        _log.error("leadership lost", error=str(lost))
        return LOST_LEADERSHIP
    except (ClusterError, OSError, AuditKeyError, SpansUnavailable) as error:
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
    identity, collectors, clock = default_identity(), CollectorRegistry(), WallClock()
    metrics, engine_metrics = OperatorMetrics(collectors), EngineMetrics(collectors)
    signer, written = load_signer(settings.audit_key), RecordsWritten(metrics)
    caches = build_caches(WATCHES)
    spans = work_spans_of(os.environ, service="gatehouse-operator")
    async with AsyncExitStack() as stack:
        stack.callback(spans.close)
        configuration = await load_configuration(kubeconfig=settings.kubeconfig, context=settings.context)
        client = await stack.enter_async_context(ApiClient(configuration, observe=metrics.api_request))
        # A separate client, so that renewals of the lease never wait for a connection.
        lease_client = await stack.enter_async_context(
            ApiClient(configuration, connections=1, observe=metrics.api_request)
        )
        leader = _leader(settings, lease_client, identity=identity)
        # Events are not fenced: they only report, and the operator posts the last Events while it releases the Lease.
        events = KubernetesEvents(client, instance=identity, dropped=metrics.event_dropped)
        events.start()
        stack.push_async_callback(events.aclose)
        parsing = WorkerParsing(on_end=metrics.parser_ended)
        stack.push_async_callback(parsing.aclose)
        login = login_with(kubeconfig=settings.kubeconfig, context=settings.context)
        poster = await stack.enter_async_context(Poster())

        def routes_changed() -> None:
            for key in every_deployment(caches):
                manager.enqueue(key)

        optional = {
            declared.kind: OptionalSource(
                resource=declared.resource,
                source=KopfSource(resources=[declared.resource], identity=identity, login=login),
                presence=KubernetesPresence(client),
                changed=routes_changed if declared in ROUTES else lambda: None,
            )
            for declared in OPTIONAL
        }
        manager = Manager(
            watches=WATCHES,
            caches=caches,
            source=KopfSource(
                resources=[watch.resource for watch in WATCHES if not watch.optional],
                identity=identity,
                namespaces=settings.namespaces,
                login=login,
            ),
            optional=list(optional.values()),
            metrics=engine_metrics,
            leader=leader,
            lister=KubernetesMetadata(client),
            options=ManagerOptions(
                namespaces=settings.namespaces,
                health_address=settings.health_address,
                grace=settings.shutdown_grace,
                stall_limit=settings.stall_limit,
                sweep_interval=settings.sweep_interval,
            ),
        )
        shared = Dependencies.over(
            Adapters(
                caches=caches,
                reader=CacheReader(caches),
                enqueue=manager.enqueue,
                set_aside=manager.set_aside,
                failed=engine_metrics.periodic_failed,
                step_ended=metrics.step_ended,
                unapproved=metrics.unapproved_pods,
                clock=clock,
                writer=KubernetesWriter(
                    client if leader is None else client.fenced(leader),
                    written=lambda kind, body: caches[kind].put_own_write(body),
                    name=identity,
                ),
                serving=KubernetesServing(
                    client if leader is None else client.fenced(leader),
                    written=lambda kind, body: caches[kind].put_own_write(body),
                ),
                routes=KubernetesRoutes(
                    client if leader is None else client.fenced(leader),
                    written=lambda kind, body: caches[kind].put_own_write(body),
                ),
                served=lambda kind: optional[kind].served,
                default_gateway=(
                    None if settings.deployment_gateway is None else RouteParent.parse(settings.deployment_gateway)
                ),
                events=events,
                secrets=KubernetesSecrets(client),
                templates=KubernetesTemplates(client),
                kserve=KubernetesKServe(client),
                pods=KubernetesPods(client),
                metrics=_prometheus(settings, poster, metrics),
                webhooks=WebhookQuestions(
                    poster,
                    allowed=settings.webhook_addresses,
                    key_file=settings.webhook_key_file,
                    now=clock.now,
                    answered=metrics.webhook_answered,
                ),
                stores=Stores(PrometheusStoreMetrics(collectors)),
                databases=DatabasePool(data_dir=settings.data_dir, metrics=written),
                parsing=parsing,
                term=leader,
                namespaces=settings.namespaces,
                identified=settings.workload_identity_for,
                patience=settings.patience,
                probe_interval=timedelta(seconds=settings.probe_interval),
                secret_interval=timedelta(seconds=settings.secret_interval),
                spans=spans,
            )
        )
        stack.push_async_callback(shared.aclose)
        for declared in DECLARATIONS:
            if (reconciler := _reconciler(declared, shared, settings)) is not None:
                manager.add(declared.kind, reconciler)
        for work in periodic_work(
            PeriodicParts(
                settings=settings,
                objects=shared.objects,
                connections=shared.connections,
                events=events,
                clock=clock,
                troubles=shared.troubles,
                templates=shared.templates,
                pods=shared.pods,
                optional=optional,
                initializer=shared.initializer,
                policy_writers=KubernetesPolicies(client),
                hints=shared.hints,
                mirrors=shared.mirrors,
                open_mirror=open_mirror,
                enqueue_version=lambda name: manager.enqueue(ObjectKey(VERSIONS, *name)),
                opendatahub=KubernetesOpenDataHub(client, fenced=client if leader is None else client.fenced(leader)),
                config_maps=KubernetesCatalogSources(client if leader is None else client.fenced(leader)),
                signer=signer,
                written=written.records,
            )
        ):
            manager.add_periodic(work)
        metrics.observe(caches, shared.faults)
        yield manager


def _reconciler(declared: Declaration, shared: Dependencies, settings: Settings) -> Reconciler | None:
    if declared.build is None:
        return None
    return Reconciler(
        declared.build(shared),
        workers=settings.workers if declared.workers is None else declared.workers,
        backoff=None if declared.backoff is None else declared.backoff(shared),
        groups=shared.shares.groups if declared.waits_for_database else None,
    )


def _prometheus(settings: Settings, poster: Poster, metrics: OperatorMetrics) -> PrometheusQueries:
    return PrometheusQueries(
        poster,
        own=settings.prometheus_address,
        further=settings.further_prometheus_addresses,
        token_file=settings.prometheus_token_file,
        ca_file=settings.prometheus_ca_file,
        timeout=settings.prometheus_timeout,
        answered=metrics.query_answered,
    )


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
