"""What the main job costs: writes to the API, rows and requests to the store, counted by the operator."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator

import pytest

from cluster.rig import Operator, until
from cluster.status import Manifest, condition
from cluster.world import World, make_world
from gatehouse_local.ephemeral import RunningControlPlane
from gatehouse_local.s3 import S3Endpoint

VERSIONS = [f"v{number}" for number in range(5)]
SUFFIX = secrets.token_hex(3)
NAMESPACES = {kind: f"counts-{kind}-{SUFFIX}" for kind in ("sqlite", "mariadb", "postgres")}


POLICY: Manifest = {
    "apiVersion": "gatehouse.dev/v1alpha1",
    "kind": "GovernancePolicy",
    "metadata": {"name": f"counts-{SUFFIX}"},
    "spec": {"match": {"riskTiers": ["High"]}},
}
"""It applies to no version here; each registry is told of it all the same."""


@pytest.fixture(scope="module")
def worlds() -> Iterator[contextlib.ExitStack]:
    """Keeps every world until the operator has ended: it would count what comes of a namespace that goes."""
    with contextlib.ExitStack() as stack:
        yield stack


@pytest.fixture(scope="module")
def operator(
    worlds: contextlib.ExitStack, installed: RunningControlPlane, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Operator]:
    """An operator that sees the namespaces of this module only, so that it counts nothing else."""
    folder = tmp_path_factory.mktemp("operator")
    with (
        contextlib.closing(installed.client()) as admin,
        contextlib.closing(Operator(installed, folder, namespaces=tuple(NAMESPACES.values()))) as running,
    ):
        admin.apply(POLICY)
        yield running.start()
        admin.request("DELETE", admin.path_of(POLICY))


@pytest.fixture(scope="module", params=NAMESPACES)
def world(
    worlds: contextlib.ExitStack,
    installed: RunningControlPlane,
    minio: S3Endpoint,
    operator: Operator,
    request: pytest.FixtureRequest,
) -> World:
    """A world on each database, with a model and the artifacts of five versions that are not applied yet."""
    kind = request.param
    database = None if kind == "sqlite" else request.getfixturevalue(kind)
    made = worlds.enter_context(make_world(installed, minio, database=database, namespace=NAMESPACES[kind]))
    for name in VERSIONS:
        made.upload(name)
    counted = operator.metrics().row_writes.get("audited_policies", 0)
    made.apply(made.registry(), made.model())
    made.wait("granite", lambda body: body["status"].get("registryId"), kind="RegisteredModel")
    until(
        lambda: (
            operator.metrics().row_writes.get("audited_policies", 0) > counted
            and [row["name"] for row in made.rows(operator, "audited_policies")] == [POLICY["metadata"]["name"]]
        ),
        what=lambda: f"told of policies: {made.rows(operator, 'audited_policies')}",
    )
    operator.wait_idle()
    return made


def summed_up(world: World, operator: Operator) -> None:
    """Waits until model and registry count the five versions, admission knows them, and the operator rests."""
    world.wait("granite", lambda body: body["status"].get("latestReady") == VERSIONS[-1], kind="RegisteredModel")
    world.wait(
        "granite",
        lambda body: body["status"]["versionsByPhase"] == [{"phase": "Ready to Deploy", "count": 5}],
        kind="RegisteredModel",
    )
    world.wait("registry", lambda body: body["status"].get("versions") == 5, kind="ModelRegistry")
    world.wait_told()
    operator.wait_idle()


def test_a_version_costs_one_row_one_config_map_one_status_and_one_event(world: World, operator: Operator) -> None:
    before = operator.metrics()
    world.apply(*(world.version(name) for name in VERSIONS))
    for name in VERSIONS:
        world.ready(name)
    summed_up(world, operator)
    written = operator.metrics().since(before)
    assert written["rows model_versions"] == 5
    assert written["create configmaps"] == 5
    assert written["patch modelversions"] == 5
    # That it is ready, and that it is cleared for each of two stages.
    assert written["rows audit_records"] == 15
    assert written["rows audit_heads"] <= 5
    lists = [written.get(f"{verb} vettedartifacts", 0) for verb in ("create", "patch")]
    assert 0 < sum(lists) <= 2 * 5
    assert written.keys() <= {
        "create vettedartifacts",
        "patch vettedartifacts",
        "rows audit_heads",
        "rows audit_records",
        "rows model_versions",
        "rows artifact_files",
        "rows history",
        "rows entries",
        "create configmaps",
        "patch modelversions",
        "patch registeredmodels",
        "patch modelregistries",
        "patch hardwareprofiles",
        "create events",
        "store",
    }
    staged = world.kube.request("GET", "/api/v1/namespaces?labelSelector=gatehouse.dev/stage")["items"]
    environments = 1 + len(staged)
    assert written.get("rows entries", 0) <= environments, "the home of the versions, and each namespace with a stage"
    assert written["patch registeredmodels"] <= 2
    assert [world.events(name, at_least=1) for name in VERSIONS] == [["Normal ReadyToDeploy"]] * 5
    assert [world.history(operator, name) for name in VERSIONS] == [["Ready to Deploy"]] * 5


def test_a_restart_with_nothing_changed_writes_nothing(world: World, operator: Operator) -> None:
    summed_up(world, operator)
    versions = {name: world.get("ModelVersion", name) for name in VERSIONS}
    rows = world.rows(operator)
    assert operator.stop() == 0
    operator.start()
    now = operator.metrics()
    assert now.sum("gatehouse_reconciles_total", kind="modelversions", outcome="retry") == 0
    assert now.api_writes == {}
    assert now.row_writes == {}
    # The probe of each registry's store is all that leaves.
    assert now.store_requests <= len(NAMESPACES)
    assert {name: world.get("ModelVersion", name) for name in VERSIONS} == versions
    assert world.rows(operator) == rows


def test_a_request_to_reconcile_costs_one_list_and_one_status(world: World, operator: Operator) -> None:
    summed_up(world, operator)
    before = operator.metrics()
    value = world.ask("v1")
    body = world.wait("v1", lambda found: found["status"].get("lastHandledReconcileAt") == value)
    operator.wait_idle()
    written = operator.metrics().since(before)
    assert written.pop("rows model_versions") == 1  # when it was last looked at
    assert written == {"patch modelversions": 1, "store": 1}
    ready = condition(body, "Ready")
    assert ready is not None
    assert ready["status"] == "True"
