"""The periodic work while the process leads, in one table.

A test checks two properties of every work. The work raises no error because of one registry or one object, and a fault
of one registry affects no other registry.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from gatehouse.app.auditing import AUDIT_SWEEP, POLICY_SWEEP
from gatehouse.app.settings import Settings
from gatehouse.controllers.audit import AuditKeeper
from gatehouse.controllers.catalog_sources import CatalogSources
from gatehouse.controllers.clients import Connections
from gatehouse.controllers.inference_services import INFERENCE_SERVICES
from gatehouse.controllers.kserve_images import ClusterInitializer
from gatehouse.controllers.lookup import Objects
from gatehouse.controllers.mirrors import MIRROR_INTERVAL, MirrorKeeper, MirrorStates
from gatehouse.controllers.opendatahub import OpenDataHubApi, OpenDataHubRegistries
from gatehouse.controllers.policy_trail import PolicyTrail
from gatehouse.controllers.ports import (
    CatalogConfigMaps,
    EventRecorder,
    MirrorFactory,
    ObjectName,
    PolicyWriters,
    UtcClock,
)
from gatehouse.controllers.registry_sweep import RegistryTroubles
from gatehouse.controllers.routes import HTTP_ROUTES, OPENSHIFT_ROUTES
from gatehouse.controllers.running_pods import PodSweep
from gatehouse.controllers.serving_environments import ServingEnvironments
from gatehouse.controllers.store_hints import HINT_INTERVAL, HintSweep, StoreHints
from gatehouse.controllers.templates import TemplateSweep
from gatehouse.runtime.optional import OptionalSource
from gatehouse.runtime.periodic import Periodic
from gatehouse.runtime.refs import Gvr

if TYPE_CHECKING:
    from gatehouse.domain.audit.keys import Signer

__all__ = ["PERIODIC_WORK", "PeriodicParts", "periodic_work"]

CATALOG_SWEEP: Final = 10.0
"""Seconds between two comparisons of what is ready with OpenShift AI's catalog."""
SERVING_SWEEP: Final = 2.0
"""Seconds between two comparisons of what runs with what the registries were told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PeriodicParts:
    """The parts of the periodic works. Without a ``signer`` nothing is signed; ``written`` counts the audit records.

    ``optional`` are the sources of the kinds that may be absent, by plural.
    """

    settings: Settings
    objects: Objects
    connections: Connections
    events: EventRecorder
    clock: UtcClock
    troubles: RegistryTroubles
    templates: TemplateSweep
    pods: PodSweep
    optional: Mapping[str, OptionalSource]
    initializer: ClusterInitializer
    policy_writers: PolicyWriters
    hints: StoreHints
    enqueue_version: Callable[[ObjectName], None]
    mirrors: MirrorStates
    open_mirror: MirrorFactory
    opendatahub: OpenDataHubApi
    config_maps: CatalogConfigMaps
    signer: Signer | None
    written: Callable[[], int]


def _templates(parts: PeriodicParts) -> Periodic:
    return Periodic(name="templates", interval=parts.settings.sweep_interval, work=parts.templates.sweep)


def _pods(parts: PeriodicParts) -> Periodic:
    return Periodic(name="pods", interval=parts.settings.pod_interval, work=parts.pods.sweep, at_once=True)


def _optional(name: str, kind: Gvr) -> Callable[[PeriodicParts], Periodic]:
    """Asks whether the API server serves a kind that may be absent."""

    def make(parts: PeriodicParts) -> Periodic:
        work = parts.optional[kind.plural].check
        return Periodic(name=name, interval=parts.settings.service_interval, work=work, at_once=True)

    return make


def _kserve(parts: PeriodicParts) -> Periodic:
    return Periodic(name="kserve", interval=parts.settings.probe_interval, work=parts.initializer.sweep)


def _opendatahub(parts: PeriodicParts) -> Periodic:
    registries = OpenDataHubRegistries(api=parts.opendatahub, objects=parts.objects, clock=parts.clock)
    return Periodic(name="opendatahub", interval=parts.settings.probe_interval, work=registries.sweep)


def _policies(parts: PeriodicParts) -> Periodic:
    trail = PolicyTrail(
        objects=parts.objects,
        connections=parts.connections,
        writers=parts.policy_writers,
        clock=parts.clock,
        troubles=parts.troubles,
    )
    return Periodic(name="policies", interval=POLICY_SWEEP, work=trail.sweep)


def _hints(parts: PeriodicParts) -> Periodic:
    hints = HintSweep(
        objects=parts.objects,
        connections=parts.connections,
        hints=parts.hints,
        enqueue=parts.enqueue_version,
        clock=parts.clock,
        troubles=parts.troubles,
    )
    return Periodic(name="store hints", interval=HINT_INTERVAL, work=hints.sweep)


def _mirrors(parts: PeriodicParts) -> Periodic:
    keeper = MirrorKeeper(
        objects=parts.objects,
        connections=parts.connections,
        open_mirror=parts.open_mirror,
        states=parts.mirrors,
        clock=parts.clock,
        troubles=parts.troubles,
    )
    return Periodic(name="mirrors", interval=MIRROR_INTERVAL, work=keeper.sweep)


def _audit(parts: PeriodicParts) -> Periodic | None:
    if parts.signer is None:
        return None
    keeper = AuditKeeper(
        objects=parts.objects,
        connections=parts.connections,
        events=parts.events,
        clock=parts.clock,
        signer=parts.signer,
        interval=timedelta(seconds=parts.settings.audit_checkpoint_interval),
        written=parts.written,
        troubles=parts.troubles,
    )
    return Periodic(name="audit", interval=AUDIT_SWEEP, work=keeper.sweep)


def _serving(parts: PeriodicParts) -> Periodic:
    environments = ServingEnvironments(
        objects=parts.objects,
        connections=parts.connections,
        pods=parts.pods,
        clock=parts.clock,
        troubles=parts.troubles,
    )
    return Periodic(name="serving", interval=SERVING_SWEEP, work=environments.sweep)


def _catalog(parts: PeriodicParts) -> Periodic | None:
    if parts.settings.catalog_source is None:
        return None
    sources = CatalogSources(
        registry=parts.settings.catalog_source,
        objects=parts.objects,
        connections=parts.connections,
        config_maps=parts.config_maps,
        troubles=parts.troubles,
    )
    return Periodic(name="catalog", interval=CATALOG_SWEEP, work=sources.sweep, at_once=True)


PERIODIC_WORK: Final[Mapping[str, Callable[[PeriodicParts], Periodic | None]]] = MappingProxyType(
    {
        "templates": _templates,
        "pods": _pods,
        "services": _optional("services", INFERENCE_SERVICES),
        "HTTPRoutes": _optional("HTTPRoutes", HTTP_ROUTES),
        "OpenShift routes": _optional("OpenShift routes", OPENSHIFT_ROUTES),
        "kserve": _kserve,
        "policies": _policies,
        "store hints": _hints,
        "mirrors": _mirrors,
        "opendatahub": _opendatahub,
        "audit": _audit,
        "serving": _serving,
        "catalog": _catalog,
    }
)
"""The factory of each work, by name. A factory returns None for a disabled work."""


def periodic_work(parts: PeriodicParts) -> list[Periodic]:
    """All enabled works."""
    made = (make(parts) for make in PERIODIC_WORK.values())
    return [work for work in made if work is not None]
