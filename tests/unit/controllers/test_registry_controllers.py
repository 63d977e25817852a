"""What the controllers of registries do with databases that are down, refuse, or hold rows of others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

import pytest

import worlds
from gatehouse.api.model_registry import ModelRegistry, ModelRegistryStatus, ObjectStore
from gatehouse.controllers.clients import Connections
from gatehouse.controllers.lookup import Objects
from gatehouse.controllers.model_registry import ModelRegistryController
from gatehouse.controllers.ports import ObjectName, RegistryRows
from gatehouse.controllers.reconciler import after_error
from gatehouse.controllers.rows import retire
from gatehouse.domain.common.conditions import find
from gatehouse.domain.common.errors import ReconcileError, Transient, Waiting
from gatehouse.domain.version.records import (
    FileRecord,
    KnownIds,
    ModelRecord,
    RegistryCounts,
    StateChange,
    VersionIds,
    VersionRecord,
)
from gatehouse.storage.port import ArtifactStore

REQUESTED_AT = "gatehouse.dev/reconcile-requested-at"


class Cache:
    """Some registries, and nothing else."""

    def __init__(self, *names: str) -> None:
        self._bodies = {name: body(name) for name in names}

    def get(self, kind: str, namespace: str, name: str) -> dict[str, Any] | None:
        return self._bodies.get(name) if kind == "modelregistries" else None

    def revision(self, kind: str, namespace: str, name: str) -> str | None:
        return "1" if self.get(kind, namespace, name) else None

    def names(self, kind: str) -> Sequence[ObjectName]:
        return [ObjectName("gatehouse-system", name) for name in self._bodies]

    def select(self, kind: str, index: str, value: str) -> Sequence[ObjectName]:
        return []

    def created(self, kind: str, namespace: str, name: str) -> str:
        return ""


def body(name: str, *, asked: str | None = None, handled: str | None = None) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": name, "namespace": "gatehouse-system", "generation": 1}
    if asked:
        metadata["annotations"] = {REQUESTED_AT: asked}
    return {"metadata": metadata, "spec": {}, "status": {"lastHandledReconcileAt": handled} if handled else {}}


@dataclass
class Rows:
    """Live rows of objects, by (kind, namespace, name)."""

    live: list[tuple[Literal["model", "version"], str, str]] = field(default_factory=list)
    archived: list[str] = field(default_factory=list)
    reserved: list[KnownIds] = field(default_factory=list)
    refuses: ReconcileError | None = None
    schema_version: str = "0001"

    async def archive_object(
        self, kind: Literal["model", "version"], *, namespace: str, name: str, change: StateChange
    ) -> int:
        self.archived.append(f"{kind} {namespace}/{name}")
        return 1

    async def live_objects(self) -> AsyncIterator[tuple[Literal["model", "version"], str, str]]:
        for each in self.live:
            yield each

    async def counts(self) -> RegistryCounts:
        if self.refuses is not None:
            raise self.refuses
        return RegistryCounts(models=0, versions=0)

    async def load_version(self, *, model: str, version: str) -> VersionRecord | None:
        raise NotImplementedError

    async def save_version(
        self,
        record: VersionRecord,
        *,
        files: Sequence[FileRecord] | None,
        change: StateChange | None,
        known: KnownIds | None = None,
    ) -> VersionIds:
        raise NotImplementedError

    async def load_files(self, *, model: str, version: str) -> Mapping[str, FileRecord]:
        raise NotImplementedError

    async def save_files(self, *, model: str, version: str, files: Sequence[FileRecord]) -> None:
        raise NotImplementedError

    async def load_model(self, *, model: str) -> ModelRecord | None:
        raise NotImplementedError

    async def save_model(self, record: ModelRecord, *, known: int | None = None) -> int:
        raise NotImplementedError

    async def reserve(self, highest: KnownIds) -> None:
        self.reserved.append(highest)


class Databases:
    """The rows of each registry, or why they cannot be opened."""

    def __init__(self, **found: Rows | ReconcileError) -> None:
        self._found = found
        self.opened = 0

    async def open(self, registry: ModelRegistry, *, password: str | None, ca_pem: str | None) -> RegistryRows:
        self.opened += 1
        found = self._found[registry.metadata.name]
        if isinstance(found, ReconcileError):
            raise found
        return found

    def describe(self, registry: ModelRegistry) -> str:
        return "fake:///"

    def forget(self, name: str) -> None:
        pass

    async def aclose(self) -> None:
        pass


class Stores:
    def open(
        self, store: ObjectStore, *, bucket: str, credentials: tuple[str, str] | None, ca_pem: str | None
    ) -> ArtifactStore:
        raise Waiting(reason="AccessDenied", message="refused", after=timedelta(seconds=60))

    async def aclose(self) -> None:
        pass


class Secrets:
    """None of them is there."""

    async def read(self, namespace: str, name: str, keys: Iterable[str]) -> Mapping[str, str]:
        raise Waiting(
            reason="SecretNotFound",
            message=f"Secret {namespace}/{name} is not there",
            after=timedelta(seconds=60),
            remedy=f"create it with {' and '.join(keys)}",
        )


class StoppedClock:
    def now(self) -> datetime:
        return worlds.NOW


def connections(databases: Databases) -> Connections:
    return Connections(stores=Stores(), databases=databases, secrets=Secrets(), clock=StoppedClock())


DOWN = Transient(reason="DatabaseUnavailable", message="no answer")
DENIED = Waiting(reason="DatabaseAccessDenied", message="refused", after=timedelta(seconds=60))


@pytest.mark.parametrize("order", [("down", "up"), ("up", "down")])
async def test_a_database_that_is_down_holds_up_the_retirement_in_no_other(order: tuple[str, ...]) -> None:
    rows = Rows()
    databases = Databases(down=DOWN, up=rows)
    with pytest.raises(Transient, match="no answer"):
        await retire(
            "version",
            "team",
            "granite-1",
            objects=Objects(Cache(*order)),
            connections=connections(databases),
            now=worlds.NOW,
        )
    assert rows.archived == ["version team/granite-1"]


async def test_a_database_that_is_silent_holds_up_the_retirement_in_no_other() -> None:
    class Silent(Databases):
        async def open(self, registry: ModelRegistry, *, password: str | None, ca_pem: str | None) -> RegistryRows:
            if registry.metadata.name == "silent":
                await asyncio.Event().wait()
            return await super().open(registry, password=password, ca_pem=ca_pem)

    rows = Rows()
    retiring = asyncio.create_task(
        retire(
            "version",
            "team",
            "granite-1",
            objects=Objects(Cache("silent", "up")),
            connections=connections(Silent(up=rows)),
            now=worlds.NOW,
        )
    )
    for _ in range(10):
        await asyncio.sleep(0)
    assert rows.archived == ["version team/granite-1"]
    retiring.cancel()


def controller(databases: Databases, *, waiting: int = 0) -> ModelRegistryController:
    return ModelRegistryController(
        objects=Objects(Cache("registry")),
        connections=connections(databases),
        clock=StoppedClock(),
        waiting=lambda _: waiting,
    )


async def reconcile(registries: ModelRegistryController, **marks: str) -> None:
    wire = body("registry", **marks)
    await registries.reconcile(ModelRegistry.model_validate(wire), wire)


async def test_an_open_database_is_opened_again_only_on_request() -> None:
    databases = Databases(registry=Rows())
    registries = controller(databases)
    await reconcile(registries)
    await reconcile(registries, asked="1", handled="1")
    assert databases.opened == 1
    await reconcile(registries, asked="2", handled="1")
    assert databases.opened == 2


async def test_a_registry_that_is_created_again_does_not_get_the_database_of_the_deleted_one() -> None:
    """Its name and its generation are the same."""
    databases = Databases(registry=Rows())
    shared = connections(databases)
    for uid, opened in (("first", 1), ("first", 1), ("second", 2)):
        wire = body("registry")
        wire["metadata"]["uid"] = uid
        await shared.rows(ModelRegistry.model_validate(wire))
        assert databases.opened == opened


async def test_credentials_that_a_database_refuses_later_are_read_again() -> None:
    rows = Rows(refuses=DENIED)
    databases = Databases(registry=rows)
    registries = controller(databases)
    with pytest.raises(Waiting):
        await reconcile(registries)
    rows.refuses = None
    await reconcile(registries)
    assert databases.opened == 2


async def test_a_store_whose_secret_is_refused_is_shown_with_what_to_do() -> None:
    store = {
        "uriPrefix": "s3://models/",
        "endpoint": "http://minio",
        "tls": "Disabled",
        "credentialsSecret": {"name": "store"},
    }
    wire = {**body("registry"), "spec": {"objectStores": [store]}}
    result = await controller(Databases(registry=Rows())).reconcile(ModelRegistry.model_validate(wire), wire)

    status = result.status
    assert isinstance(status, ModelRegistryStatus)
    [found] = status.object_stores
    said = (
        "SecretNotFound: Secret gatehouse-system/store is not there; "
        "create it with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    )
    assert (found.reachable, found.message) == (False, said)
    ready = find(status.conditions, "Ready")
    assert ready is not None
    assert said in ready.message


@pytest.mark.parametrize(
    ("serving", "named"),
    [
        ({}, None),
        ({"vllmImage": "vllm/vllm-openai:v0.11.0"}, "vllm/vllm-openai:v0.11.0"),
        ({"initializerImages": [f"mirror/kserve/init:RELEASE.1@sha256:{'0' * 64}"]}, None),
        ({"vllmImage": f"vllm/vllm-openai@sha256:{'0' * 64}"}, None),
        (
            {"vllmImage": f"vllm@sha256:{'0' * 64}", "initializerImages": ["mirror/kserve/init:v0.17"]},
            "mirror/kserve",
        ),
        (
            {"vllmImage": f"vllm@sha256:{'0' * 64}", "proxyImages": ["mirror.example/proxy:4.20"]},
            "mirror.example/proxy",
        ),
    ],
)
async def test_an_image_by_tag_is_a_warning_and_stops_nothing(serving: dict[str, Any], named: str | None) -> None:
    wire = {**body("registry"), "spec": {"serving": serving}}
    result = await controller(Databases(registry=Rows())).reconcile(ModelRegistry.model_validate(wire), wire)

    assert isinstance(result.status, ModelRegistryStatus)
    ready, warning = find(result.status.conditions, "Ready"), find(result.status.conditions, "ImagesByTag")
    assert ready is not None
    assert ready.status == "True"
    assert (warning.message if warning else None) == named or (warning is not None and str(named) in warning.message)


@pytest.mark.parametrize("pays", [True, False])
async def test_a_store_that_pods_cannot_load_from_is_a_warning_and_stops_nothing(pays: bool) -> None:
    store = {"uriPrefix": "s3://models/", "endpoint": "https://s3.eu-west-1.amazonaws.com", "requesterPays": pays}
    wire = {**body("registry"), "spec": {"objectStores": [store]}}
    result = await controller(Databases(registry=Rows())).reconcile(ModelRegistry.model_validate(wire), wire)

    assert isinstance(result.status, ModelRegistryStatus)
    warning = find(result.status.conditions, "PodsCannotLoad")
    assert (warning is not None) is pays
    if warning is not None:
        assert (warning.status, warning.reason) == ("True", "RequesterPays")
        assert "requests to s3://models/ must state that the requester pays" in warning.message
        assert "copy the models into your own bucket" in warning.message


async def test_a_registry_whose_database_is_silent_says_that_objects_wait_for_it() -> None:
    registry = ModelRegistry.model_validate(body("registry"))

    def shown(resource: ModelRegistry, waiting: int) -> ModelRegistryStatus:
        registries = controller(Databases(registry=DOWN), waiting=waiting)
        status = after_error(registries, resource, DOWN, clock=StoppedClock()).status
        assert isinstance(status, ModelRegistryStatus)
        return status

    assert find(shown(registry, 0).conditions, "WaitingForDatabase") is None
    status = shown(registry, 8)
    told = find(status.conditions, "WaitingForDatabase")
    assert told is not None
    assert (told.status, told.reason) == ("True", "ShareOfWorkers")
    assert find(status.conditions, "Ready") is not None
    again = registry.model_copy(update={"status": status})
    assert shown(again, 8).conditions == shown(again, 0).conditions == status.conditions, "it is not written each time"
    result = await controller(Databases(registry=Rows()), waiting=8).reconcile(again, body("registry"))
    assert find(result.status.conditions, "WaitingForDatabase") is None, "the database answers"
