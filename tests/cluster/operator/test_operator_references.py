"""What a registry does not allow is not looked at: no request leaves the operator."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from cluster.rig import Operator
from cluster.servers import FaultyStore
from cluster.status import Manifest, condition, kstatus
from cluster.world import MINIATURE, World, make_world
from gatehouse_local.ephemeral import RunningControlPlane
from gatehouse_local.objects import namespace as namespace_manifest
from gatehouse_local.s3 import S3Endpoint


@pytest.fixture
def store() -> Iterator[FaultyStore]:
    """A store that counts its requests, with an artifact in it."""
    with FaultyStore() as serving:
        serving.store.objects = {f"granite-1/{name}": content for name, content in MINIATURE.items()}
        yield serving


@pytest.fixture
def worlds(
    installed: RunningControlPlane, minio: S3Endpoint, operator: Operator, store: FaultyStore
) -> Iterator[tuple[World, World]]:
    """A world whose registry reads from the store that counts, and another namespace."""
    with contextlib.ExitStack() as stack:
        home, other = (stack.enter_context(make_world(installed, minio)) for _ in range(2))
        home.apply(registry(home, store))
        home.final("registry", kind="ModelRegistry")
        yield home, other


def registry(home: World, store: FaultyStore, **spec: object) -> Manifest:
    return home.registry(
        objectStores=[{"uriPrefix": "s3://models/", "endpoint": store.store.url, "tls": "Disabled"}], **spec
    )


def model(home: World, other: World) -> Manifest:
    """A model of another namespace that the registry is to keep."""
    return other.model(registryRef={"name": "registry", "namespace": home.namespace})


def version(world: World, uri: str = "s3://models/granite-1/") -> Manifest:
    return world.version(artifact={"uri": uri})


def stalled(world: World, reason: str) -> Manifest:
    waiting = world.phase("granite-1", "Waiting")
    found = condition(waiting, "Stalled")
    assert found is not None
    assert found["reason"] == reason
    return found


@pytest.mark.parametrize(
    "allowed",
    [
        {"from": "Same"},
        {"from": "Selector", "selector": {"matchLabels": {"team": "ai"}}},
        {"from": "Selector", "selector": {"matchExpressions": [{"key": "team", "operator": "In", "values": ["ai"]}]}},
    ],
)
def test_nothing_is_read_for_a_namespace_that_is_not_allowed(
    worlds: tuple[World, World], store: FaultyStore, operator: Operator, allowed: Manifest
) -> None:
    home, other = worlds
    home.apply(registry(home, store, allowedNamespaces=allowed))
    home.final("registry", kind="ModelRegistry")
    operator.wait_idle()
    before = store.requests
    other.apply(model(home, other), version(other))
    assert home.namespace in stalled(other, "NamespaceNotAllowed")["message"]
    operator.wait_idle()
    assert store.requests == before
    assert home.rows(operator) == []
    assert home.rows(operator, "registered_models") == []


def test_a_namespace_is_let_in_by_its_labels_and_shut_out_again(
    worlds: tuple[World, World], store: FaultyStore
) -> None:
    home, other = worlds
    home.apply(
        registry(home, store, allowedNamespaces={"from": "Selector", "selector": {"matchLabels": {"team": "ai"}}})
    )
    other.apply(model(home, other), version(other))
    stalled(other, "NamespaceNotAllowed")
    labelled = namespace_manifest(other.namespace)
    other.apply({**labelled, "metadata": {**labelled["metadata"], "labels": {"team": "ai"}}})
    other.ready()
    other.apply(labelled)
    stalled(other, "NamespaceNotAllowed")
    assert other.templates() == []


@pytest.mark.parametrize(
    "uri", ["s3://elsewhere/granite-1/", "s3://models-too/granite-1/", "s3://models.internal/granite-1/"]
)
def test_nothing_is_read_at_a_uri_outside_every_store(
    worlds: tuple[World, World], store: FaultyStore, operator: Operator, uri: str
) -> None:
    home, _ = worlds
    home.apply(home.model())
    home.final("granite", kind="RegisteredModel")
    operator.wait_idle()
    before = store.requests
    home.apply(version(home, uri))
    message = stalled(home, "UriOutsideRegistry")["message"]
    assert uri in message
    assert "s3://models/" in message
    operator.wait_idle()
    assert store.requests == before


def test_a_store_that_is_added_lets_a_version_in(worlds: tuple[World, World], store: FaultyStore) -> None:
    home, _ = worlds
    home.upload("granite-1")
    home.apply(home.model(), home.version())
    stalled(home, "UriOutsideRegistry")
    counting = registry(home, store)["spec"]["objectStores"]
    home.apply(home.registry(objectStores=[*counting, home.object_store()]))
    home.ready()


def test_the_longest_prefix_decides_by_which_credentials_a_store_is_read(worlds: tuple[World, World]) -> None:
    home, _ = worlds
    home.upload("granite-1")
    # A bucket has one endpoint: the wide prefix differs by its Secret, which is not there.
    wide = home.object_store(uriPrefix=f"s3://{home.bucket}/", credentialsSecret={"name": "nobodys"})
    home.apply(home.registry(objectStores=[wide, home.object_store(uriPrefix=f"s3://{home.bucket}/granite-1/")]))
    home.apply(home.model(), home.version())
    home.ready()


def test_without_a_reference_the_default_registry_keeps_a_model(
    worlds: tuple[World, World], store: FaultyStore, operator: Operator
) -> None:
    home, other = worlds
    unnamed = other.model()
    del unnamed["spec"]["registryRef"]
    other.apply(unnamed, version(other))
    assert condition(other.phase("granite-1", "Waiting"), "Ready")["reason"] == "RegistryNotFound"  # type: ignore[index]
    marked = registry(home, store, allowedNamespaces={"from": "All"})
    marked["metadata"]["annotations"] = {"gatehouse.dev/default-registry": "true"}
    home.apply(marked)
    other.ready()
    second = {**marked, "metadata": {**marked["metadata"], "name": "second"}}
    home.apply(second)
    waiting = other.phase("granite-1", "Waiting")
    ready = condition(waiting, "Ready")
    assert ready is not None
    assert ready["reason"] == "DefaultRegistryAmbiguous"
    assert f"{home.namespace}/registry, {home.namespace}/second" in ready["message"]
    home.delete("ModelRegistry", "second")
    assert kstatus(other.ready()) == []
