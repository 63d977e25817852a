"""What the operator tells a registry about serving, and how seldom its database is asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

from hypothesis import given
from hypothesis import strategies as st

import worlds
from gatehouse.api.model_registry import ModelRegistry
from gatehouse.app.cache_reader import CacheReader
from gatehouse.controllers.lookup import Objects
from gatehouse.controllers.registry_sweep import RegistryTroubles
from gatehouse.controllers.serving_environments import COMPARED_AGAIN, LOOK_AGAIN, ServingEnvironments
from gatehouse.domain.common.errors import ReconcileError, Transient
from gatehouse.domain.entries.observed import ObservedEnvironment, ObservedService, ObservedServing
from gatehouse.domain.entries.properties import Property
from gatehouse.domain.serving.template import ANNOTATION_DIGEST, ANNOTATION_VERSION
from gatehouse.runtime.refs import Body
from trails import NOW
from unit.controllers.service_caches import SERVICES, VERSIONS, Cluster, Served, pods, service, version

URI, DIGEST = worlds.URI, worlds.DIGEST
REGISTRY = "model-registry/registry"
RIGHT = Served(URI, DIGEST)


def registry(name: str = "registry", **spec: Any) -> Body:
    body = worlds.registry(**spec).model_dump(mode="json", by_alias=True, exclude_none=True)
    return {**body, "metadata": {"name": name, "namespace": "model-registry", "uid": name, "generation": 1}}


def registered(name: str = "v1", id_: int = 7, *, of: str = REGISTRY, **status: Any) -> Body:
    return version(name, URI, **{"registry": of, "registryId": str(id_), "recordedDigest": DIGEST} | status)


def live(name: str = "s", served: Served = RIGHT, *, at: str = "prod", **more: Any) -> Body:
    body = service(name, served, at=at)
    body["metadata"]["annotations"] |= more.pop("annotations", {})
    body["metadata"] |= more.pop("metadata", {})
    return body | more


@dataclass
class World:
    """Registries that remember what they were told, over the operator's cache."""

    cluster: Cluster
    registries: tuple[Body, ...] = field(default_factory=lambda: (registry(),))
    now_: datetime = NOW
    down: ReconcileError | None = None
    told: list[tuple[str, ObservedServing]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.cluster.list("modelregistries", self.registries)
        self.environments = ServingEnvironments(
            objects=Objects(CacheReader(self.cluster.caches)),
            connections=self,  # type: ignore[arg-type]
            pods=self.cluster.pods,
            clock=self,
            troubles=RegistryTroubles(events=self),
        )

    async def services(self) -> list[ObservedService]:
        """What the first registry is told of services now."""
        self.now_ += timedelta(minutes=10)
        self.told.clear()
        await self.environments.sweep()
        return [] if not self.told else sorted(self.told[0][1].services)

    async def rows(self, of: ModelRegistry) -> Any:
        return _Rows(self, f"{of.metadata.namespace}/{of.metadata.name}")

    def now(self) -> datetime:
        return self.now_

    def record(
        self, kind: str, body: Mapping[str, Any], *, type_: Literal["Normal", "Warning"], reason: str, message: str
    ) -> None:
        raise AssertionError(f"{reason}: {message}")


@dataclass
class _Rows:
    world: World
    name: str

    async def save_serving(self, serving: ObservedServing) -> int:
        self.world.told.append((self.name, serving))
        if self.world.down is not None:
            raise self.world.down
        return 0


def world(*versions: Body, services: tuple[Body, ...] | None = (), **more: Any) -> World:
    cluster = Cluster({"prod": ("production", None), "warn": ("staging", "Warn"), "free": ("", None)}, *versions)
    if services is not None:
        cluster.list(SERVICES, services)
    return World(cluster, **more)


async def test_a_service_of_a_version_is_told_with_what_it_is() -> None:
    body = live(status={"url": "http://s.example.com"})
    body["spec"]["predictor"]["model"]["runtime"] = "gatehouse-vllm-1"
    found = await world(registered(), services=(body,)).services()
    assert found == [
        ObservedService(
            namespace="prod",
            name="s",
            uid="prod/s",
            version_id=7,
            runtime="gatehouse-vllm-1",
            url="http://s.example.com",
            digest=DIGEST,
        )
    ]
    assert found[0].entry_name == "s/prod/s"


async def test_a_service_is_told_with_what_its_pods_run() -> None:
    rig = world(registered(), services=(live(),))
    rig.cluster.running = [
        pods("s", RIGHT, at="prod", count=2, ready=1),
        pods("s", Served(URI, worlds.OTHER_DIGEST), at="prod"),
        pods("s", Served(URI, ""), at="prod"),
        pods("another", RIGHT, at="prod"),
    ]
    await rig.cluster.pods.sweep()
    (found,) = await rig.services()
    assert (found.digest, found.running) == (DIGEST, tuple(sorted((DIGEST, worlds.OTHER_DIGEST))))
    assert (found.pods, found.ready) == (4, 3)
    assert found.properties == {
        "gatehouse.digest": Property("string", DIGEST),
        "gatehouse.running_digest": Property("string", ", ".join(sorted((DIGEST, worlds.OTHER_DIGEST)))),
        "gatehouse.pods": Property("int", 4),
        "gatehouse.ready_pods": Property("int", 3),
    }


async def test_only_services_of_a_stage_that_run_the_bytes_of_a_version_are_told() -> None:
    services = (
        live("right"),
        live("warned", at="warn"),
        live("no-stage", at="free"),
        live("other-bytes", Served(URI, worlds.OTHER_DIGEST)),
        live("no-digest", Served(URI, "")),
        live("other-place", Served("s3://models/other/", DIGEST)),
        live("x" * 201),
    )
    found = await world(registered(), services=services).services()
    assert [one.name for one in found] == ["right", "warned"]
    assert await world(registered(registryId=None), services=services).services() == []
    assert await world(registered(registryId="no number"), services=services).services() == []


async def test_of_several_versions_of_an_artifact_the_named_one_is_told() -> None:
    versions = (registered("v1", 9), registered("v2", 8), registered("v3", 10))
    named = live("named", annotations={ANNOTATION_VERSION: "team/v3"})
    unknown = live("unknown", annotations={ANNOTATION_VERSION: "team/gone"})
    found = await world(*versions, services=(named, unknown, live("silent"))).services()
    assert {one.name: one.version_id for one in found} == {"named": 10, "unknown": 8, "silent": 8}


async def test_a_service_that_is_being_deleted_is_undeployed() -> None:
    found = await world(
        registered(), services=(live(metadata={"deletionTimestamp": "2026-01-01T00:00:00Z"}),)
    ).services()
    assert [one.state for one in found] == ["UNDEPLOYED"]


async def test_each_registry_is_told_of_its_own_versions() -> None:
    versions = (registered("v1", 7), registered("v2", 7, of="model-registry/other"))
    services = tuple(live(name, annotations={ANNOTATION_VERSION: f"team/{name}"}) for name in ("v1", "v2"))
    both = world(*versions, services=services, registries=(registry(), registry("other", stages=["qa"])))
    await both.environments.sweep()
    told = {name: sorted(service.name for service in serving.services) for name, serving in both.told}
    assert told == {REGISTRY: ["v1"], "model-registry/other": ["v2"]}


async def test_environments_are_stages_homes_and_places_that_are_used() -> None:
    cluster = Cluster({"prod": ("production", None), "lab": ("lab", None), "team": ("", None), "free": ("", None)})
    cluster.list(VERSIONS, [registered()])
    cluster.list(SERVICES, [live("s", at="lab")])
    asked = World(cluster, registries=(registry(stages=["production"], allowedNamespaces={"from": "All"}),))
    await asked.environments.sweep()
    assert {one.name for one in asked.told[0][1].environments} == {"prod", "lab", "team"}
    narrow = World(cluster, registries=(registry(stages=["production"], allowedNamespaces={"from": "Same"}),))
    await narrow.environments.sweep()
    assert {one.name for one in narrow.told[0][1].environments} == {"prod", "lab"}


async def test_a_registry_is_asked_only_after_a_change_and_each_minute() -> None:
    asked = world(registered(), services=(live(),))
    for _ in range(3):
        await asked.environments.sweep()
    assert len(asked.told) == 1
    asked.cluster.tell("MODIFIED", SERVICES, live(status={"url": "http://new"}))
    await asked.environments.sweep()
    assert len(asked.told) == 2
    asked.cluster.tell("MODIFIED", SERVICES, live(status={"url": "http://new", "conditions": []}))
    await asked.environments.sweep()
    assert len(asked.told) == 2
    asked.cluster.tell("DELETED", SERVICES, live())
    await asked.environments.sweep()
    assert (len(asked.told), asked.told[-1][1].services) == (3, frozenset())
    asked.now_ += COMPARED_AGAIN
    await asked.environments.sweep()
    assert len(asked.told) == 4


async def test_an_outage_delays_what_is_told() -> None:
    asked = world(registered(), services=(live(),))
    asked.down = Transient(reason="DatabaseUnavailable", message="down")
    await asked.environments.sweep()
    await asked.environments.sweep()
    assert len(asked.told) == 1
    asked.down = None
    asked.now_ += LOOK_AGAIN
    await asked.environments.sweep()
    await asked.environments.sweep()
    assert len(asked.told) == 2


async def test_nothing_is_told_while_the_services_are_not_known() -> None:
    unknown = world(registered(), services=None)
    await unknown.environments.sweep()
    assert unknown.told == []
    unknown.cluster.list(SERVICES, ())
    await unknown.environments.sweep()
    assert [serving.environments for _, serving in unknown.told] == [
        frozenset({ObservedEnvironment(name="prod", uid=""), ObservedEnvironment(name="warn", uid="")})
    ]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(
    spec=JSON,
    status=JSON,
    model=JSON,
    annotations=st.dictionaries(st.sampled_from([ANNOTATION_DIGEST, ANNOTATION_VERSION, "x"]), st.text(max_size=9)),
)
async def test_no_service_of_another_shape_hides_the_others(
    spec: Any, status: Any, model: Any, annotations: dict[str, str]
) -> None:
    odd = {"metadata": {"name": "odd", "namespace": "prod", "uid": "o", "annotations": annotations}, "status": status}
    for body in ({**odd, "spec": spec}, {**odd, "spec": {"predictor": {"model": model}}}):
        found = await world(registered(), services=(body, live("right"))).services()
        assert [one.name for one in found] == ["right"]
