"""ModelRegistry: connects, migrates, and reports which systems are reachable."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

from gatehouse.api.meta import ANNOTATION_DEFAULT_REGISTRY
from gatehouse.api.model_registry import (
    ModelRegistry,
    ModelRegistryStatus,
    ObjectStore,
    ObjectStoreStatus,
    ServingDefaults,
)
from gatehouse.api.model_version import ModelVersion
from gatehouse.api.wire import WireRegistry, WireVersion
from gatehouse.controllers.clients import Connections
from gatehouse.controllers.declaration import SUMMARY_SETTLE, Declaration, Trigger, resource_of
from gatehouse.controllers.dependencies import Dependencies
from gatehouse.controllers.indexes import BY_BUCKET, DEFAULT, IS_DEFAULT, outcome_part
from gatehouse.controllers.lookup import Objects
from gatehouse.controllers.mirrors import MirrorStates
from gatehouse.controllers.ports import ObjectName, UtcClock
from gatehouse.controllers.reconciler import Result
from gatehouse.controllers.registry_sweep import PERIODIC_WORK_FAILING, RegistryTroubles
from gatehouse.domain.admission.contest import BUCKET_HAS_TWO_ENDPOINTS, endpoints_of, places_of
from gatehouse.domain.common.conditions import READY, RECONCILING, STALLED, ConditionState, find, merge
from gatehouse.domain.common.errors import ReconcileError, Transient, Waiting
from gatehouse.domain.common.locations import locate
from gatehouse.domain.serving.initializer import cannot_load
from gatehouse.domain.version.outcome import PROGRESSING_WITH_RETRY, Requeue
from gatehouse.runtime.cache import Caches
from gatehouse.runtime.controller import Reconcile
from gatehouse.runtime.refs import ObjectKey
from gatehouse.runtime.workqueue import Backoff

__all__ = ["DECLARATION", "ModelRegistryController", "registries_of_its_buckets", "registry_part"]

INTERVAL: Final = timedelta(seconds=60)
WORKERS: Final = 8
"""Each registry holds at most one worker while its database and its stores are silent."""
WAITING_FOR_DATABASE: Final = "WaitingForDatabase"
"""Condition of a ModelRegistry that is True while its database does not answer and objects wait for its share."""
PODS_CANNOT_LOAD: Final = "PodsCannotLoad"
"""Condition of a ModelRegistry that is True while KServe's initializer cannot read one of its stores."""


def _none_wait(_registry: ModelRegistry) -> int:
    return 0


class ModelRegistryController:
    """Reconciles ModelRegistries, each at least every ``interval``.

    ``waiting`` is how many objects wait for a worker because others hold the share of their registry's database.
    """

    kind = ModelRegistry

    def __init__(
        self,
        *,
        objects: Objects,
        connections: Connections,
        clock: UtcClock,
        interval: timedelta = INTERVAL,
        troubles: RegistryTroubles | None = None,
        mirrors: MirrorStates | None = None,
        waiting: Callable[[ModelRegistry], int] = _none_wait,
    ) -> None:
        self._objects = objects
        self._connections = connections
        self._clock = clock
        self._interval = interval
        self._troubles = troubles
        self._mirrors = mirrors
        self._waiting = waiting

    async def reconcile(self, resource: ModelRegistry, body: Mapping[str, Any]) -> Result:  # noqa: ARG002
        """Compares the rows with the objects, and probes each store. Raises the database's errors."""
        asked = resource.requested_at != resource.status.last_handled_reconcile_at
        # Opening the database anew compares its rows with the objects.
        self._connections.reread(resource, older_than=timedelta(0) if asked else self._interval)
        try:
            rows = await self._connections.rows(resource)
            counts = await rows.counts()
        except Waiting as error:
            # Credentials are not watched: the next reconcile reads them again, after a person corrected them.
            self._connections.reread(resource)
            raise Waiting(
                reason=error.reason,
                message=error.message,
                remedy=error.remedy,
                after=min(error.after, self._interval),
            ) from error
        if counts.read_only:
            raise Transient(
                reason="DatabaseReadOnly",
                message=f"Database {self._connections.describe(resource)} takes no writes: the server says that it is "
                "read-only, as a replica is; expected: the primary",
                remedy="Name the primary in the ModelRegistry, or make this server writable.",
            )
        stores = [await self._probe(resource, store) for store in resource.spec.object_stores]
        states = [
            *_states(self._connections.describe(resource), stores, torn=self._torn(resource)),
            *_warnings(resource.spec.serving),
            *_unloadable(resource.spec.object_stores),
            *self._troubled(resource),
            *(() if self._mirrors is None else self._mirrors.of(resource)),
        ]
        generation = resource.metadata.generation
        status = ModelRegistryStatus(
            observed_generation=generation,
            last_handled_reconcile_at=resource.requested_at,
            database=self._connections.describe(resource),
            schema_version=rows.schema_version,
            object_stores=stores,
            models=counts.models,
            versions=counts.versions,
            conditions=merge(resource.status.conditions, states, generation=generation, now=self._clock.now()),
        )
        return Result(status=status, requeue=Requeue(after=self._interval.total_seconds()))

    async def gone(self, namespace: str, name: str) -> None:
        """Closes the database and keeps its rows; objects that need them wait for a registry."""
        self._connections.forget(f"{namespace}/{name}")

    def outage(self, resource: ModelRegistry) -> ModelRegistryStatus:
        """The last known status, with a condition if objects wait for others of the same database.

        The condition stays until the database answers. The objects that wait differ at each attempt: a condition that
        named them would be written at each attempt.
        """
        status = resource.status
        if find(status.conditions, WAITING_FOR_DATABASE) is not None or not self._waiting(resource):
            return status
        state = ConditionState(
            WAITING_FOR_DATABASE,
            "True",
            "ShareOfWorkers",
            "objects that wait for the database hold all the workers that one database may hold; more of them wait for "
            "their turn, as gatehouse_queue_set_aside counts, and those of other databases go on",
        )
        waiting = merge([], [state], generation=resource.metadata.generation, now=self._clock.now())
        return status.model_copy(update={"conditions": [*status.conditions, *waiting]})

    def grace(self, resource: ModelRegistry) -> timedelta:  # noqa: ARG002
        """A registry that does not answer is not ready, however short the outage is."""
        return timedelta(0)

    def _troubled(self, registry: ModelRegistry) -> Iterator[ConditionState]:
        """The errors of periodic work for this registry, as one condition."""
        name = ObjectName(registry.metadata.namespace, registry.metadata.name)
        troubles = [] if self._troubles is None else self._troubles.of(name)
        if troubles:
            message = "; ".join(trouble.message for trouble in troubles)
            yield ConditionState(PERIODIC_WORK_FAILING, "True", troubles[0].reason, message)

    def _torn(self, registry: ModelRegistry) -> list[str]:
        """Each bucket of the registry that registries declare at several endpoints, and its endpoints."""
        buckets = {locate(store.uri_prefix).bucket for store in registry.spec.object_stores}
        reader = self._objects.reader
        names = {name for bucket in buckets for name in reader.select(self.kind.info.plural, BY_BUCKET, bucket)}
        others = (self._objects.get(ModelRegistry, *name) for name in names)
        declared = endpoints_of(
            other for other in others if other is not None and not other.metadata.deletion_timestamp
        )
        return [
            f"bucket {bucket} is at {places_of(declared[bucket])}"
            for bucket in sorted(buckets & declared.keys())
            if len(declared[bucket]) > 1
        ]

    async def _probe(self, registry: ModelRegistry, store: ObjectStore) -> ObjectStoreStatus:
        try:
            await self._connections.probe(registry, store)
        except ReconcileError as error:
            message = f"{error.reason}: {error.advice}"[:1024]
            return ObjectStoreStatus(uri_prefix=store.uri_prefix, reachable=False, message=message)
        return ObjectStoreStatus(uri_prefix=store.uri_prefix, reachable=True)


def _warnings(serving: ServingDefaults) -> Iterator[ConditionState]:
    """Settings that are valid but let others decide which code runs."""
    named = (serving.vllm_image, *serving.initializer_images, *serving.proxy_images)
    by_tag = [image for image in named if "@sha256:" not in image]
    if by_tag:
        yield ConditionState(
            "ImagesByTag",
            "True",
            "TagsCanMove",
            f"{', '.join(by_tag)}: everyone who may write to the image registry decides which image a tag names; "
            "name each image as NAME@sha256:DIGEST",
        )


def _unloadable(stores: Sequence[ObjectStore]) -> Iterator[ConditionState]:
    """Stores that Gatehouse can read and KServe's initializer cannot."""
    problems = [problem for store in stores if (problem := cannot_load(store)) is not None]
    if problems:
        message = "; ".join(problem.found for problem in problems)
        yield ConditionState(
            PODS_CANNOT_LOAD, "True", problems[0].reason, f"{message}. What to do: {problems[0].remedy}"
        )


def _states(database: str, stores: list[ObjectStoreStatus], *, torn: list[str]) -> list[ConditionState]:
    states = _reachable(database, stores)
    if not torn:
        return states
    message = (
        f"{'; '.join(torn)}: no version in a bucket with several endpoints is cleared; name the same endpoint in "
        "objectStores of these ModelRegistries, or use another bucket"
    )
    kept = [state for state in states if state.type not in {READY, RECONCILING}]
    return [
        ConditionState(READY, "False", BUCKET_HAS_TWO_ENDPOINTS, message),
        ConditionState(STALLED, "True", BUCKET_HAS_TWO_ENDPOINTS, message),
        *kept,
    ]


def _reachable(database: str, stores: list[ObjectStoreStatus]) -> list[ConditionState]:
    down = [store for store in stores if not store.reachable]
    database_ready = ConditionState("DatabaseReady", "True", "Connected", f"connected to {database}")
    if not down:
        reachable = ConditionState("ObjectStoresReachable", "True", "Reachable", f"{len(stores)} object stores answer")
        return [
            ConditionState(READY, "True", "Connected", "the database and every object store answer"),
            database_ready,
            reachable,
        ]
    message = "; ".join(f"{store.uri_prefix}: {store.message}" for store in down)
    return [
        ConditionState(READY, "False", "ObjectStoreUnreachable", message),
        ConditionState(RECONCILING, "True", PROGRESSING_WITH_RETRY, message),
        database_ready,
        ConditionState("ObjectStoresReachable", "False", "ObjectStoreUnreachable", message),
    ]


# What the operator declares for the kind


def _buckets(body: WireRegistry) -> Iterable[str]:
    for store in (body.get("spec") or {}).get("objectStores") or ():
        yield locate(store["uriPrefix"]).bucket


def _is_default(body: WireRegistry) -> Iterable[str]:
    if (body["metadata"].get("annotations") or {}).get(ANNOTATION_DEFAULT_REGISTRY) == IS_DEFAULT:
        yield IS_DEFAULT


def registry_part(body: WireRegistry) -> object:
    """What models, versions and other registries depend on: the spec, the annotations, and whether it is ready."""
    conditions = (body.get("status") or {}).get("conditions") or ()
    ready = next((str(condition["status"]) for condition in conditions if condition["type"] == READY), "Unknown")
    return [body["spec"], body["metadata"].get("annotations"), ready]


def registries_of_its_buckets(registry: WireRegistry, caches: Caches) -> Iterable[ObjectKey]:
    """The other registries that declare a bucket of a registry: their versions may have to leave it."""
    metadata = registry["metadata"]
    for bucket in set(_buckets(registry)):
        for other in caches.select(ModelRegistry.info.plural, BY_BUCKET, bucket):
            if (other.namespace, other.name) != (metadata["namespace"], metadata["name"]):
                yield other


def _registry_of(version: WireVersion, _caches: Caches) -> Iterable[ObjectKey]:
    namespace, _, name = str((version.get("status") or {}).get("registry") or "").partition("/")
    if name:
        yield ObjectKey(ModelRegistry.info.plural, namespace, name)


def _build(shared: Dependencies) -> Reconcile:
    adapters, shares = shared.adapters, shared.shares
    return shared.runner(
        ModelRegistryController(
            objects=shared.objects,
            connections=shared.connections,
            clock=adapters.clock,
            interval=adapters.probe_interval,
            troubles=shared.troubles,
            mirrors=shared.mirrors,
            waiting=lambda registry: adapters.set_aside(shares.database(registry)),
        )
    )


def _backoff(shared: Dependencies) -> Backoff:
    """Objects that wait for a registry are enqueued when it is ready, so the registry retries often."""
    return Backoff(cap=shared.adapters.probe_interval.total_seconds())


DECLARATION: Final = Declaration(
    resource=resource_of(ModelRegistry),
    build=_build,
    indexes={DEFAULT: _is_default, BY_BUCKET: _buckets},
    triggers=(
        Trigger(kind=ModelRegistry.info.plural, relevant=registry_part, dependents=registries_of_its_buckets),
        Trigger(kind=ModelVersion.info.plural, relevant=outcome_part, dependents=_registry_of, settle=SUMMARY_SETTLE),
    ),
    workers=WORKERS,
    backoff=_backoff,
    waits_for_database=True,
)
