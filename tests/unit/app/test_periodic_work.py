"""What one registry comes to reaches no other: asked of every line of the table of periodic work.

A work that is added to the table is asked as well. The registries' rows are real ones in SQLite; the cluster is a map.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import pytest
from structlog.testing import capture_logs

from gatehouse.api.model_registry import ModelRegistry
from gatehouse.app.periodic import PERIODIC_WORK, PeriodicParts, periodic_work
from gatehouse.app.settings import Settings
from gatehouse.controllers import registry_sweep
from gatehouse.controllers.kserve_images import ClusterInitializer
from gatehouse.controllers.lookup import Objects
from gatehouse.controllers.mirrors import MirrorStates
from gatehouse.controllers.model_registry import ModelRegistryController
from gatehouse.controllers.observed import OPTIONAL
from gatehouse.controllers.ports import ObjectName
from gatehouse.controllers.registry_sweep import PERIODIC_WORK_FAILING, RegistryTroubles
from gatehouse.controllers.running_pods import PodSweep
from gatehouse.controllers.store_hints import StoreHints
from gatehouse.controllers.templates import TemplateSweep
from gatehouse.domain.common.conditions import find
from gatehouse.domain.common.errors import Stalled, Transient
from gatehouse.domain.serving.running import RunningPods
from gatehouse.mirrors.client import open_mirror
from gatehouse.registry.rows import Rows
from gatehouse.runtime.informer import Sink
from gatehouse.runtime.optional import OptionalSource
from gatehouse.runtime.periodic import Periodic
from gatehouse.runtime.refs import Gvr
from registrycontract import Opened, open_file
from trails import NOW, SIGNER

REGISTRIES = ("a-first", "m-broken", "z-last")
BROKEN = ObjectName("registries", "m-broken")
SECRET = "hunter2"
FAULTS: list[BaseException] = [
    TypeError(f"a bytes-like object is required, not {SECRET}"),
    ZeroDivisionError(SECRET),
    KeyError(SECRET),
    RecursionError(SECRET),
    MemoryError(SECRET),
    UnicodeDecodeError("ascii", b"\xff", 0, 1, SECRET),
    ExceptionGroup(SECRET, [ValueError(SECRET)]),
    OSError(SECRET),
    AssertionError(SECRET),
]
ABOUT_REGISTRIES = {"policies", "store hints", "mirrors", "audit", "serving"}
"""Works that look at each registry. A work that is in no set has no place in the table."""
ABOUT_ONE_REGISTRY = {"catalog"}
"""Works that look at the registry that a setting names: here the broken one."""
ABOUT_OBJECTS = {"templates", "services", "HTTPRoutes", "OpenShift routes", "kserve", "opendatahub", "pods"}
"""Works that read other objects of the cluster."""


@dataclass
class World:
    """Three registries over one database, policies, versions; ``fault`` is what the middle one's rows come to."""

    opened: Opened
    fault: BaseException | None = None
    hangs: bool = False
    now_: Any = NOW
    asked: Counter[str] = field(default_factory=Counter)
    events: list[tuple[str, str]] = field(default_factory=list)
    changed: list[ObjectName] = field(default_factory=list)
    counted: Counter[str] = field(default_factory=Counter)
    generation: int = 0
    versions: dict[str, Any] = field(default_factory=dict)
    failure: BaseException | None = None
    watching: bool = False
    enqueued: list[ObjectName] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.troubles = RegistryTroubles(events=self, changed=self.changed.append, counted=self._count)
        self.objects = Objects(self)  # type: ignore[arg-type]
        self.parts = PeriodicParts(
            settings=Settings(catalog_source="/".join(BROKEN)),
            objects=self.objects,
            connections=self,  # type: ignore[arg-type]
            events=self,
            clock=self,
            troubles=self.troubles,
            templates=TemplateSweep(reader=self, lister=self, enqueue=self.enqueued.append),  # type: ignore[arg-type]
            pods=PodSweep(
                reader=self,
                lister=self,
                served=lambda _kind: True,
                enqueue=self.enqueued.append,
                told=lambda _found: None,
            ),  # type: ignore[arg-type]
            optional={
                each.kind: OptionalSource(resource=each.resource, source=self, presence=self) for each in OPTIONAL
            },
            initializer=ClusterInitializer(reader=self, changed=lambda: None),
            policy_writers=self,
            hints=StoreHints(),
            enqueue_version=self.enqueued.append,
            mirrors=MirrorStates(changed=lambda _name: None),
            open_mirror=open_mirror,
            opendatahub=self,
            config_maps=self,
            signer=SIGNER,
            written=lambda: 0,
        )

    def _count(self, work: str) -> None:
        self.counted[work] += 1

    async def status(self) -> Any:
        """What the broken registry's status says, with rows that count."""
        fault, self.fault = self.fault, None
        controller = ModelRegistryController(
            objects=self.objects,
            connections=self,  # type: ignore[arg-type]
            clock=self,
            troubles=self.troubles,
        )
        registry = self.objects.get(ModelRegistry, *BROKEN)
        assert registry is not None
        result = await controller.reconcile(registry, {})
        self.fault = fault
        return result.status

    # the cluster

    def names(self, kind: str) -> Sequence[ObjectName]:
        match kind:
            case "modelregistries":
                return [ObjectName("registries", name) for name in REGISTRIES]
            case "governancepolicies":
                return [ObjectName("", "strict")]
            case "modelversions":
                return [ObjectName("team", name) for name in self.versions]
        return []

    def get(self, kind: str, namespace: str, name: str) -> dict[str, Any] | None:
        if kind == "modelversions":
            return {"metadata": {"namespace": namespace, "name": name}, "status": self.versions.get(name)}
        metadata = {"namespace": namespace, "name": name, "uid": "u", "generation": self.generation}
        spec = {
            "hooks": {"tokenSecret": {"name": "hooks", "key": "token"}},
            # Nothing listens there, and nothing is to be written.
            "mirrors": [{"url": "http://127.0.0.1:1", "tls": "Disabled"}],
        }
        return {"metadata": metadata, "spec": {"mode": f"Edit{self.generation}"} if not namespace else spec}

    def revision(self, kind: str, namespace: str, name: str) -> str | None:
        return str(self.generation)

    def select(self, kind: str, index: str, value: str) -> Sequence[ObjectName]:
        return []

    def values(self, kind: str, index: str) -> Sequence[str]:
        return []

    def complete(self, kind: str) -> bool:
        return True

    async def templates(self) -> Mapping[tuple[str, str], str]:
        if self.failure is not None:
            raise self.failure
        return {}

    async def serves(self, _resource: Gvr) -> bool:
        if self.failure is not None:
            raise self.failure
        return False

    async def run(self, _sink: Sink) -> None:
        """Nothing is watched."""

    def relist(self) -> None:
        """Nothing is watched."""

    def stalled_for(self) -> float:
        return 0.0

    async def initializer(self) -> str | None:
        if self.failure is not None:
            raise self.failure
        return None

    async def writers(self) -> Mapping[str, str]:
        return {}

    async def running(self) -> tuple[RunningPods, ...]:
        if self.failure is not None:
            raise self.failure
        return ()

    async def registries(self) -> Sequence[Mapping[str, Any]]:
        if self.failure is not None:
            raise self.failure
        return []

    async def write_status(self, body: Mapping[str, Any], status: Mapping[str, Any]) -> None:
        raise AssertionError("there is no object")

    async def read(self, namespace: str) -> Mapping[str, Any] | None:
        return {"metadata": {"namespace": namespace, "uid": "u", "resourceVersion": "1"}}

    async def put_data(self, config_map: Mapping[str, Any], key: str, text: str) -> Mapping[str, Any]:
        return {**config_map, "data": {key: text}}

    async def replace_data(self, config_map: Mapping[str, Any], key: str, text: str) -> None:
        pass

    def record(
        self, kind: str, body: Mapping[str, Any], *, type_: Literal["Normal", "Warning"], reason: str, message: str
    ) -> None:
        if type_ == "Warning":
            assert (kind, body["metadata"]["name"]) == ("ModelRegistry", BROKEN.name)
            self.events.append((reason, message))

    def now(self) -> Any:
        return self.now_

    # the connections

    async def rows(self, registry: ModelRegistry) -> Rows:
        self.asked[registry.metadata.name] += 1
        if registry.metadata.name == BROKEN.name:
            if self.hangs:
                await asyncio.Event().wait()
            if self.fault is not None:
                raise self.fault
        return self.opened.rows

    def reread(self, registry: ModelRegistry, **_when: Any) -> None:
        pass

    def describe(self, registry: ModelRegistry) -> str:
        return "sqlite"

    def later(self) -> None:
        """Everything is due again, and each policy was edited."""
        self.now_ += timedelta(minutes=10)
        self.generation += 1


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    opened = await open_file(tmp_path)
    yield World(opened)
    await opened.databases.aclose()


def made(world: World, work: str) -> Periodic:
    found = PERIODIC_WORK[work](world.parts)
    assert found is not None
    assert found.name == work
    return found


def asked(work: str, rounds: int) -> dict[str, int]:
    """How often a work asks for the rows of each registry."""
    return dict.fromkeys((BROKEN.name,) if work in ABOUT_ONE_REGISTRY else REGISTRIES, rounds)


def test_every_work_is_in_the_table_and_of_a_kind_that_is_asked_here(tmp_path: Path) -> None:
    assert set(PERIODIC_WORK) == ABOUT_REGISTRIES | ABOUT_ONE_REGISTRY | ABOUT_OBJECTS


async def test_the_operator_does_the_works_of_the_table(world: World) -> None:
    assert [each.name for each in periodic_work(world.parts)] == list(PERIODIC_WORK)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: type(fault).__name__)
@pytest.mark.parametrize("work", PERIODIC_WORK)
async def test_what_nobody_foresaw_in_one_registry_reaches_no_other_and_is_told_once(
    world: World, work: str, fault: BaseException
) -> None:
    periodic, rounds = made(world, work), 5
    world.fault = fault
    with capture_logs() as logs:
        for _ in range(rounds):
            await periodic.work()
            world.later()
    if work in ABOUT_OBJECTS:
        assert not world.asked
        return
    # Each round the others had their turn, before the broken one and after.
    assert world.asked == asked(work, rounds)
    assert world.counted == {work: rounds}
    assert world.troubles.failing(work) == 1
    ((reason, message),) = world.events
    assert type(fault).__name__ in message
    tracebacks = [entry for entry in logs if entry.get("exc_info")]
    assert len(tracebacks) == 1
    assert world.changed == [BROKEN]

    condition = find((await world.status()).conditions, PERIODIC_WORK_FAILING)
    assert condition is not None
    assert (condition.status, condition.reason, condition.message) == ("True", reason, message)
    assert SECRET not in message

    world.fault = None
    world.later()
    await periodic.work()
    assert world.troubles.failing(work) == 0
    assert world.changed == [BROKEN, BROKEN]
    assert find((await world.status()).conditions, PERIODIC_WORK_FAILING) is None
    assert len(world.events) == 1


@pytest.mark.parametrize("work", sorted(ABOUT_REGISTRIES | ABOUT_ONE_REGISTRY))
async def test_what_somebody_must_mend_is_a_trouble_with_its_way_out(world: World, work: str) -> None:
    """As when a database has no letter for what a policy is called."""
    periodic = made(world, work)
    world.fault = Stalled(reason="RowRejected", message="no character for a value", remedy="use UTF8")
    with capture_logs() as logs:
        for _ in range(3):
            await periodic.work()
            world.later()
    assert world.asked == asked(work, 3)
    ((_, message),) = world.events
    assert message.endswith("fails: no character for a value; use UTF8")
    assert len([entry for entry in logs if entry["event"] == "periodic work failed"]) == 1
    assert not [entry for entry in logs if entry.get("exc_info")]


@pytest.mark.parametrize("work", sorted(ABOUT_REGISTRIES | ABOUT_ONE_REGISTRY))
async def test_an_outage_is_no_trouble(world: World, work: str) -> None:
    periodic = made(world, work)
    world.fault = Transient(reason="DatabaseUnavailable", message="down")
    with capture_logs() as logs:
        for _ in range(3):
            await periodic.work()
            world.later()
    assert world.asked == asked(work, 3)
    assert (world.events, world.counted, world.changed) == ([], {}, [])
    assert not [entry for entry in logs if entry.get("exc_info")]


@pytest.mark.parametrize("work", sorted(ABOUT_REGISTRIES))
async def test_a_registry_that_is_silent_keeps_no_other_one_waiting(
    world: World, work: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry_sweep, "PATIENCE", 0.5)
    periodic = made(world, work)
    # What is imported and prepared at the first use takes its time once.
    await periodic.work()
    world.asked.clear()
    world.later()
    world.hangs = True
    for _ in range(3):
        for sweep in vars(periodic.work.__self__).values():  # type: ignore[attr-defined]  # a bound method
            if isinstance(sweep, registry_sweep.RegistrySweep):
                sweep._patience = 0.2
        await periodic.work()
        world.later()
    assert (world.asked["a-first"], world.asked["z-last"]) == (3, 3)
    assert world.asked[BROKEN.name] == 1, "what still runs is not begun again"


ODD_STATUSES: list[Any] = [
    None,
    [],
    "text",
    7,
    {"template": None},
    {"template": {"name": 7, "digest": []}},
    {"template": "x"},
]


@pytest.mark.parametrize("odd", ODD_STATUSES, ids=repr)
@pytest.mark.parametrize("work", sorted(ABOUT_OBJECTS))
async def test_an_odd_object_keeps_no_other_one_from_its_turn(world: World, work: str, odd: Any) -> None:
    fine = {"template": {"name": "t", "digest": "sha256:1"}}
    world.versions = {"a": fine, "m": odd, "z": fine}
    await made(world, work).work()
    if work == "templates":
        assert [name.name for name in world.enqueued] == ["a", "z"]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: type(fault).__name__)
@pytest.mark.parametrize("work", sorted(ABOUT_OBJECTS))
async def test_a_list_that_fails_leaves_what_was_known_and_is_made_up_for(
    world: World, work: str, fault: BaseException
) -> None:
    world.versions = {"a": {"template": {"name": "t", "digest": "sha256:1"}}}
    periodic = made(world, work)
    world.failure = fault
    with pytest.raises(type(fault)):
        await periodic.work()
    world.failure = None
    await periodic.work()
    assert world.enqueued == ([ObjectName("team", "a")] if work == "templates" else [])
