"""What runs in a cluster, in the entries of a registry and in OpenShift AI's catalog: by the real operator."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
import yaml

from cluster.operator.kubeconfigs import operator_kubeconfig
from cluster.rig import Operator, until
from cluster.status import Manifest
from cluster.world import World, make_world
from gatehouse.api.model_registry import ModelRegistry
from gatehouse.cluster.catalog_sources import CATALOG_SOURCES, KubernetesCatalogSources
from gatehouse.cluster.client import ApiClient
from gatehouse.domain.catalog.sources_file import MODELS_KEY, SOURCES_KEY, with_own_entry
from gatehouse.domain.common.errors import Superseded
from gatehouse.domain.entries.entry import Entry, EntryKind
from gatehouse.domain.query.pages import Page
from gatehouse.domain.serving.template import ANNOTATION_DIGEST
from gatehouse.registry.pool import DatabasePool
from gatehouse_local.ephemeral import RunningControlPlane
from gatehouse_local.s3 import S3Endpoint

MERGE = "application/merge-patch+json"
SERVICES: tuple[EntryKind, ...] = ("inference_service",)
ENVIRONMENTS: tuple[EntryKind, ...] = ("serving_environment",)
OTHERS = "catalogs:\n- {id: team, type: yaml, enabled: no}\n"


@pytest.fixture
def world(installed: RunningControlPlane, minio: S3Endpoint, operator: Operator) -> Iterator[World]:
    """A namespace with a stage whose gate is off, and a version that is ready there."""
    with make_world(installed, minio) as made:
        made.upload()
        labels = {"gatehouse.dev/stage": "staging", "gatehouse.dev/gate": "Off"}
        where = f"/api/v1/namespaces/{made.namespace}"
        made.kube.request("PATCH", where, {"metadata": {"labels": labels}}, content_type=MERGE)
        made.apply(made.registry(), made.model(), made.version())
        made.ready()
        yield made


def entries(world: World, operator: Operator, kinds: tuple[EntryKind, ...]) -> list[Entry]:
    async def run() -> list[Entry]:
        databases = DatabasePool(data_dir=operator.data_dir, now=lambda: datetime.now(tz=UTC))
        registry = ModelRegistry.model_validate(world.registry() | {"status": {}})
        try:
            rows = await databases.open(registry, password=None, ca_pem=None)
            return list((await rows.entries.page(kinds=kinds, page=Page())).entries)
        finally:
            await databases.aclose()

    return asyncio.run(run())


def service(world: World) -> Manifest:
    version = world.get("ModelVersion", "granite-1")
    assert version is not None
    annotations = {ANNOTATION_DIGEST: version["status"]["artifact"]["digest"]}
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": "granite", "namespace": world.namespace, "annotations": annotations},
        "spec": {"predictor": {"model": {"storageUri": world.uri("granite-1")}}},
    }


def test_what_runs_is_an_entry_until_it_is_gone(world: World, operator: Operator) -> None:
    world.apply(service(world))
    (shown,) = until(lambda: entries(world, operator, SERVICES), what="no service is shown")
    live = world.kube.request("GET", world.kube.path_of(service(world)))
    (environment,) = [one for one in entries(world, operator, ENVIRONMENTS) if one.name == world.namespace]
    (row,) = world.rows(operator)
    assert (shown.name, shown.parent_id, shown.state) == (
        f"granite/{live['metadata']['uid']}",
        environment.id,
        "DEPLOYED",
    )
    assert (shown.members["modelVersionId"], shown.namespace) == (str(row["id"]), world.namespace)
    world.kube.request("DELETE", world.kube.path_of(service(world)))
    until(
        lambda: [one.state for one in entries(world, operator, SERVICES)] == ["UNDEPLOYED"], what="the service is shown"
    )
    operator.stop()
    operator.start()
    operator.wait_idle()
    assert [one.id for one in entries(world, operator, SERVICES)] == [shown.id]


async def test_the_operators_rights_suffice_for_the_catalogs_sources_and_no_change_of_others_is_lost(
    installed: RunningControlPlane, world: World
) -> None:
    async with await ApiClient.connect(kubeconfig=operator_kubeconfig(installed)) as client:
        sources = KubernetesCatalogSources(client)
        assert await sources.read(world.namespace) is None
        world.kube.apply(
            {
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": CATALOG_SOURCES, "namespace": world.namespace},
                "data": {SOURCES_KEY: OTHERS, "team.yaml": "models: []"},
            }
        )
        read = await sources.read(world.namespace)
        assert read is not None
        written = await sources.put_data(read, MODELS_KEY, "{}")
        assert written["data"] == {SOURCES_KEY: OTHERS, "team.yaml": "models: []", MODELS_KEY: "{}"}
        with pytest.raises(Superseded):
            await sources.replace_data(read, SOURCES_KEY, "lost: yes")
        await sources.replace_data(written, SOURCES_KEY, with_own_entry(OTHERS))
        now = await sources.read(world.namespace)
        assert now is not None
        assert [entry["id"] for entry in yaml.safe_load(now["data"][SOURCES_KEY])["catalogs"]] == ["team", "gatehouse"]
        assert (now["data"]["team.yaml"], now["data"][MODELS_KEY]) == ("models: []", "{}")
        world.kube.request("DELETE", f"/api/v1/namespaces/{world.namespace}/configmaps/{CATALOG_SOURCES}")
        with pytest.raises(Superseded):
            await sources.put_data(now, MODELS_KEY, "never made")
        assert await sources.read(world.namespace) is None
