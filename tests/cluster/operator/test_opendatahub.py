"""OpenShift AI's ModelRegistry alone: the real operator makes a registry of it, on a real database."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from cluster.rig import Operator
from cluster.status import Manifest, condition
from cluster.world import World, make_world
from gatehouse.cluster.client import ApiClient, load_configuration
from gatehouse.cluster.opendatahub import KubernetesOpenDataHub
from gatehouse.controllers.lookup import Objects
from gatehouse.controllers.opendatahub import OpenDataHubRegistries
from gatehouse.domain.common.opendatahub import ANNOTATION_DATABASE_TLS
from gatehouse.install.shipped_files import documents
from gatehouse_local.controlplane import OPERATOR_USER
from gatehouse_local.databases import LocalDatabase
from gatehouse_local.ephemeral import RunningControlPlane
from gatehouse_local.s3 import S3Endpoint

COMPONENT = "kustomize/components/opendatahub"
NAME = "registry"


@pytest.fixture
def world(
    installed: RunningControlPlane, minio: S3Endpoint, mariadb: LocalDatabase, operator: Operator
) -> Iterator[World]:
    """A world with the component's kind and rights, which go at the end."""
    shipped = [each for each in documents(COMPONENT) if each["kind"] in {"CustomResourceDefinition", "ClusterRole"}]
    with make_world(installed, minio, database=mariadb) as made:
        [kind] = [made.kube.apply(each) for each in shipped if each["kind"] == "CustomResourceDefinition"]
        made.kube.wait_served([kind])
        for role in (each for each in shipped if each["kind"] == "ClusterRole"):
            made.kube.apply(role)
        binding = {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": "test-operator-opendatahub"},
            "roleRef": {
                "apiGroup": "rbac.authorization.k8s.io",
                "kind": "ClusterRole",
                "name": "gatehouse-operator-opendatahub",
            },
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": OPERATOR_USER}],
        }
        made.kube.apply(binding)
        try:
            yield made
        finally:
            made.kube.request("DELETE", made.kube.path_of(binding))
            made.kube.request("DELETE", made.kube.path_of(kind))


def foreign(world: World, **database: Any) -> Manifest:
    spec = {**next(iter(world.database_spec().values())), **database}
    spec.pop("tls")
    return {
        "apiVersion": "modelregistry.opendatahub.io/v1beta1",
        "kind": "ModelRegistry",
        "metadata": {
            "name": NAME,
            "namespace": world.namespace,
            "labels": {"app.kubernetes.io/part-of": "gatehouse"},
            "annotations": {ANNOTATION_DATABASE_TLS: "Disabled"},
        },
        "spec": {"mysql": spec},
    }


class Later:
    """A clock for which each object is old enough."""

    def now(self) -> datetime:
        return datetime.now(UTC) + timedelta(hours=1)


class Seen:
    """The ModelRegistries of Gatehouse, as the API server has them."""

    def __init__(self, world: World) -> None:
        self._world = world

    def get(self, _: str, namespace: str, name: str) -> dict[str, Any] | None:
        return self._world.get("ModelRegistry", name)

    def revision(self, kind: str, namespace: str, name: str) -> str | None:
        found = self.get(kind, namespace, name)
        return None if found is None else str(found["metadata"]["resourceVersion"])


def sweep(world: World, plane: RunningControlPlane) -> Mapping[str, Any]:
    """One sweep with the rights of the operator; the condition Available after it."""

    async def swept() -> None:
        configuration = await load_configuration(kubeconfig=plane.kubeconfig, context=OPERATOR_USER)
        async with ApiClient(configuration) as client:
            seen: Any = Seen(world)
            api = KubernetesOpenDataHub(client, fenced=client)
            await OpenDataHubRegistries(api=api, objects=Objects(seen), clock=Later()).sweep()

    asyncio.run(swept())
    body = world.kube.request("GET", world.kube.path_of(foreign(world)))
    return condition(body, "Available") or {}


def test_an_object_alone_becomes_a_registry_with_rows_in_its_database(
    world: World, installed: RunningControlPlane
) -> None:
    world.kube.apply(foreign(world))
    assert sweep(world, installed)["reason"] == "NoRegistry"
    world.final(NAME, kind="ModelRegistry")
    made = world.get("ModelRegistry", NAME)
    assert made is not None
    assert (condition(made, "Ready") or {})["status"] == "True"
    assert sweep(world, installed)["status"] == "True"
    world.apply(world.model())
    world.final("granite", kind="RegisteredModel")
    model = world.get("RegisteredModel", "granite")
    assert model is not None
    assert (condition(model, "Ready") or {})["status"] == "True"
    assert model["status"]["registry"] == f"{world.namespace}/{NAME}"


def test_a_wrong_password_is_said_without_the_password(world: World, installed: RunningControlPlane) -> None:
    world.kube.apply(foreign(world, username="nobody"))
    sweep(world, installed)

    def refused(body: Manifest) -> bool:
        return (condition(body, "Ready") or {}).get("status") == "False"

    world.wait(NAME, refused, kind="ModelRegistry", what="is not refused")
    said = sweep(world, installed)
    assert said["status"] == "False"
    assert world.database is not None
    assert world.database.password not in str(said)
