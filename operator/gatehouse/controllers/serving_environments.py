"""Shows in each registry which services run its versions, and in which namespaces services may run.

A sweep compares the cached services with what a registry was told last, so a registry whose services did not change is
not asked. Only services in namespaces with a stage are shown, and only those that load the artifact of a version under
the digest of the version. While the services are not known, the entries stay as they are.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple, cast

import structlog

from gatehouse.api.kserve import WireService
from gatehouse.api.model_registry import ModelRegistry
from gatehouse.api.model_version import ModelVersion
from gatehouse.api.wire import REGISTRY_ID, WireVersion
from gatehouse.controllers.clients import Connections
from gatehouse.controllers.indexes import BY_DIGEST, BY_NAMESPACE, BY_SERVED
from gatehouse.controllers.inference_services import INFERENCE_SERVICES, served_digest, served_folder
from gatehouse.controllers.lookup import Objects
from gatehouse.controllers.ports import ObjectName, UtcClock
from gatehouse.controllers.registry_sweep import RegistrySweep, RegistryTroubles
from gatehouse.controllers.running_pods import PodSweep
from gatehouse.domain.common.errors import ReconcileError, Stalled
from gatehouse.domain.common.locations import allows_namespace
from gatehouse.domain.common.readable import member
from gatehouse.domain.entries.observed import ObservedEnvironment, ObservedService, ObservedServing
from gatehouse.domain.serving.running import RunningPods
from gatehouse.domain.serving.template import ANNOTATION_VERSION, LABEL_STAGE
from gatehouse.domain.version.row_recovery import row_id

__all__ = ["ServingEnvironments"]

WORK: Final = "serving"
COMPARED_AGAIN: Final = timedelta(minutes=1)
"""How often unchanged services are compared: a database may be restored to an older state at any time."""
LOOK_AGAIN: Final = timedelta(seconds=10)
"""The wait after an outage."""
LONGEST_SERVICE: Final = 200
"""Characters in the name of a service that is shown. KServe runs none whose name has more than 48."""
_SERVICES: Final = INFERENCE_SERVICES.plural
_VERSIONS: Final = ModelVersion.info.plural
_REGISTRY: Final = ("status", "registry")

_log = structlog.get_logger(__name__)


class _Place(NamedTuple):
    """A namespace: its stage, if it has one, and its labels."""

    uid: str
    stage: str
    labels: Mapping[str, str]


class _Running(NamedTuple):
    """A service, and how the version that it runs is found."""

    name: ObjectName
    uid: str
    folder: str
    digest: str
    version: str
    runtime: str
    url: str
    deployed: bool


class _Served(NamedTuple):
    """A version that services may run: its registry and its id there."""

    registry: str
    id: int
    named: str


@dataclass(frozen=True, slots=True)
class _Told:
    """What a registry was told or could not be told, and when to compare again without a change."""

    serving: ObservedServing
    due: datetime


class ServingEnvironments:
    """The operator calls :meth:`sweep` at short intervals; most calls read no database."""

    def __init__(
        self, *, objects: Objects, connections: Connections, pods: PodSweep, clock: UtcClock, troubles: RegistryTroubles
    ) -> None:
        self._reader = objects.reader
        self._connections = connections
        self._pods = pods
        self._clock = clock
        self._each = RegistrySweep(
            work=WORK,
            reason="ServingNotShown",
            doing="the entries do not show what runs: writing them",
            objects=objects,
            troubles=troubles,
        )
        self._known: dict[ObjectName, tuple[str | None, _Running | None]] = {}
        self._told: dict[str, _Told] = {}

    async def sweep(self) -> None:
        """Tells each registry what runs, if that has changed."""
        if not self._reader.complete(_SERVICES):
            return
        places = dict(self._places())
        services = self._by_registry(places)

        async def check(registry: ModelRegistry, _body: Mapping[str, Any]) -> bool:
            name = f"{registry.metadata.namespace}/{registry.metadata.name}"
            return await self._look(name, registry, self._serving(registry, places, services.get(name, frozenset())))

        await self._each.run(check)

    async def _look(self, name: str, registry: ModelRegistry, serving: ObservedServing) -> bool:
        now, told = self._clock.now(), self._told.get(name)
        # A due time further ahead was set before the machine's clock was set back.
        put_off = told is not None and now < told.due <= now + COMPARED_AGAIN
        if told is not None and put_off and told.serving == serving:
            return False
        self._told[name] = _Told(serving, now + LOOK_AGAIN)
        self._told[name] = _Told(serving, now + await self._tell(name, registry, serving))
        return True

    async def _tell(self, name: str, registry: ModelRegistry, serving: ObservedServing) -> timedelta:
        """Writes the entries that differ; returns when to compare again."""
        try:
            rows = await self._connections.rows(registry)
            written = await rows.save_serving(serving)
        except Stalled:
            raise
        except ReconcileError as error:
            _log.warning("serving not shown yet", registry=name, reason=error.reason, message=error.message)
            return LOOK_AGAIN
        if written:
            _log.info("entries show what runs", registry=name, written=written)
        return COMPARED_AGAIN

    # What runs

    def _serving(
        self, registry: ModelRegistry, places: Mapping[str, _Place], services: AbstractSet[ObservedService]
    ) -> ObservedServing:
        """The environments are the registry's stages, the homes of its versions, and where its services are."""
        homes = frozenset(self._reader.values(_VERSIONS, BY_NAMESPACE))
        used = {service.namespace for service in services}
        environments = {
            ObservedEnvironment(name=name, uid=place.uid)
            for name, place in places.items()
            if name in used
            or place.stage in registry.spec.stages
            or (name in homes and allows_namespace(registry, name, place.labels))
        }
        return ObservedServing(environments=frozenset(environments), services=frozenset(services))

    def _by_registry(self, places: Mapping[str, _Place]) -> Mapping[str, AbstractSet[ObservedService]]:
        found: defaultdict[str, set[ObservedService]] = defaultdict(set)
        candidates: dict[tuple[str, str], list[_Served]] = {}
        for running in self._running():
            place = places.get(running.name.namespace)
            if place is None or not place.stage:
                continue
            key = (running.folder, running.digest)
            if key not in candidates:
                candidates[key] = sorted(self._versions(*key), key=lambda served: served.id)
            served = _chosen(candidates[key], running.version)
            if served is not None:
                found[served.registry].add(_observed(running, served, self._pods.of_service(running.name)))
        return found

    def _running(self) -> Iterator[_Running]:
        """The services that load an artifact, each read once for each resourceVersion."""
        before, self._known = self._known, {}
        for name in self._reader.names(_SERVICES):
            revision = self._reader.revision(_SERVICES, *name)
            known = before.get(name)
            if known is None or known[0] != revision:
                body = self._reader.get(_SERVICES, *name)
                known = (revision, None if body is None else _read(name, cast("WireService", body)))
            self._known[name] = known
            if known[1] is not None:
                yield known[1]

    def _versions(self, folder: str, digest: str) -> Iterator[_Served]:
        """The versions of an artifact under a digest that a registry keeps."""
        for name in self._reader.select(_VERSIONS, BY_SERVED, folder):
            if not digest or digest not in self._reader.indexed(_VERSIONS, name, BY_DIGEST):
                continue
            body = self._reader.get(_VERSIONS, *name)
            if body is None:
                continue
            version = cast("WireVersion", body)
            registry, known = member(version, *_REGISTRY), member(version, *REGISTRY_ID)
            id_ = row_id(known) if isinstance(known, str) else None
            if isinstance(registry, str) and id_ is not None:
                yield _Served(registry, id_, f"{name.namespace}/{name.name}")

    def _places(self) -> Iterable[tuple[str, _Place]]:
        for name in self._reader.names("namespaces"):
            metadata = (self._reader.get("namespaces", *name) or {}).get("metadata") or {}
            labels = metadata.get("labels") or {}
            yield name.name, _Place(str(metadata.get("uid") or ""), str(labels.get(LABEL_STAGE) or ""), labels)


def _read(name: ObjectName, service: WireService) -> _Running | None:
    """The facts of a service; None for one that loads no artifact, or has a name under which it cannot run."""
    metadata = service["metadata"]
    folder = next(iter(served_folder(service)), "")
    uid = metadata.get("uid", "")
    if not folder or not uid or len(name.name) > LONGEST_SERVICE:
        return None
    return _Running(
        name=name,
        uid=uid,
        folder=folder,
        digest=served_digest(service),
        version=(metadata.get("annotations") or {}).get(ANNOTATION_VERSION, ""),
        runtime=service["spec"]["predictor"]["model"].get("runtime", "") if "spec" in service else "",
        url=service.get("status", {}).get("url", ""),
        deployed="deletionTimestamp" not in metadata,
    )


def _chosen(candidates: Iterable[_Served], named: str) -> _Served | None:
    """The version that the service names among those of its artifact; else the oldest."""
    first = None
    for served in candidates:
        if served.named == named:
            return served
        first = first or served
    return first


def _observed(running: _Running, served: _Served, pods: Sequence[RunningPods] | None) -> ObservedService:
    return ObservedService(
        namespace=running.name.namespace,
        name=running.name.name,
        uid=running.uid,
        version_id=served.id,
        runtime=running.runtime,
        url=running.url,
        deployed=running.deployed,
        digest=running.digest,
        running=tuple(sorted({each.digest for each in pods or () if each.digest})),
        pods=None if pods is None else sum(each.pods for each in pods),
        ready=None if pods is None else sum(each.ready for each in pods),
    )
