"""InferenceServices are watched where the API server serves them, and their absence stops nobody."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.rig import Operator, until
from cluster.servers import available
from cluster.status import Manifest
from cluster.world import World, make_world
from gatehouse.install.shipped_files import documents
from gatehouse_local import ephemeral
from gatehouse_local.ephemeral import RunningControlPlane
from gatehouse_local.errors import ApiRefused
from gatehouse_local.objects import namespace as namespace_manifest
from gatehouse_local.s3 import S3Endpoint

SERVICES = "inferenceservices"
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
DEFINITION = f"{DEFINITIONS}/{SERVICES}.serving.kserve.io"
MERGE = "application/merge-patch+json"
WEBHOOKS = "mutatingwebhookconfigurations"
INTERVAL = "1s"


@pytest.fixture(scope="module")
def plane() -> Iterator[RunningControlPlane]:
    """A control plane of this module, which takes KServe's kind away."""
    with available(ephemeral.control_plane()) as running:
        with contextlib.closing(running.client()) as client:
            for manifest in (namespace_manifest(), *documents("manifests/hardware")):
                client.apply(manifest)
        yield running


@pytest.fixture
def world(plane: RunningControlPlane, minio: S3Endpoint) -> Iterator[World]:
    """A namespace with a stage whose gate is off, an artifact, and KServe's kind without services."""
    with make_world(plane, minio) as made:
        made.upload()
        labels = {"gatehouse.dev/stage": "staging", "gatehouse.dev/gate": "Off"}
        where = f"/api/v1/namespaces/{made.namespace}"
        made.kube.request("PATCH", where, {"metadata": {"labels": labels}}, content_type=MERGE)
        install(made)
        yield made
        uninstall(made)


@contextlib.contextmanager
def operating(plane: RunningControlPlane, folder: Path) -> Iterator[Operator]:
    arguments = [f"--service-interval={INTERVAL}", f"--probe-interval={INTERVAL}"]
    with contextlib.closing(Operator(plane, folder, arguments=arguments)) as running:
        yield running.start()


def declare(world: World) -> None:
    world.apply(world.registry(), world.model(), world.version())


def install(world: World) -> None:
    """KServe's kind, as it was at the start; returns when the API server serves the kind."""
    shipped = documents("manifests/kserve-minimal")
    [definition] = [each for each in shipped if each["spec"]["names"]["plural"] == SERVICES]
    world.kube.wait_served([world.kube.apply(definition)])


def uninstall(world: World) -> None:
    world.kube.request("DELETE", DEFINITION)

    def gone() -> bool:
        try:
            world.kube.request("GET", DEFINITION)
        except ApiRefused as refused:
            return refused.status == 404
        return False

    until(gone, what="the kind is still there")


def service(world: World, name: str = "granite", uri: str | None = None) -> Manifest:
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": name, "namespace": world.namespace},
        "spec": {"predictor": {"model": {"storageUri": uri or world.uri("granite-1")}}},
    }


def deployed(world: World, *stages: str) -> None:
    world.wait("granite-1", lambda body: body["status"].get("deployedTo", []) == list(stages), what=f"not in {stages}")


def checks(operator: Operator) -> float:
    """How often the operator asked whether the kind is served, and listed the kind for that."""
    return operator.metrics().sum("gatehouse_api_requests_total", verb="list", resource=SERVICES)


def wait_intervals(operator: Operator, count: int) -> None:
    """Returns after so many intervals: work of the same interval was done so often."""

    def done() -> float:
        return operator.metrics().sum("gatehouse_api_requests_total", verb="get", resource=WEBHOOKS)

    before = done()
    until(lambda: done() >= before + count, what="no other work is done")


def listed(operator: Operator) -> float:
    """How many services all lists of the operator had."""
    return operator.metrics().sum("gatehouse_watch_events_total", kind=SERVICES, type="LISTED")


def failures(operator: Operator) -> float:
    return operator.metrics().sum("gatehouse_periodic_failures_total", work="services")


def wait_checks(operator: Operator, count: int) -> None:
    """Returns after so many checks from now on."""
    before = checks(operator)
    until(lambda: checks(operator) >= before + count, what="no checks")


def test_without_the_kind_the_operator_works_and_it_finds_the_kind_when_it_is_installed(
    plane: RunningControlPlane, world: World, tmp_path: Path
) -> None:
    uninstall(world)
    with operating(plane, tmp_path) as operator:
        declare(world)
        world.ready()
        wait_checks(operator, 3)
        assert failures(operator) == 0
        install(world)
        world.apply(service(world))
        deployed(world, "staging")

        # The kind goes with its services, and comes back.
        uninstall(world)
        deployed(world)
        wait_checks(operator, 3)
        install(world)
        world.apply(service(world))
        deployed(world, "staging")
        assert operator.metrics().sum("gatehouse_relists_total") == 0


def test_services_are_listed_once_and_their_changes_are_seen_by_the_watch(
    plane: RunningControlPlane, world: World, tmp_path: Path
) -> None:
    """Two services exist at the start, so that one list is two services. One of the two stays, and so counts always."""
    declare(world)
    world.apply(service(world), service(world, "stays", uri="s3://elsewhere/model/"))
    with operating(plane, tmp_path) as operator:
        world.ready()
        deployed(world, "staging")
        world.apply(service(world, uri="s3://elsewhere/model/"))
        deployed(world)
        checked = checks(operator)
        wait_intervals(operator, 5)
        world.apply(service(world))
        deployed(world, "staging")
        world.kube.request("DELETE", world.kube.path_of(service(world)))
        deployed(world)
        wait_intervals(operator, 5)
        assert listed(operator) == 2
        assert checks(operator) == checked, "a watch that works is not checked"
        assert failures(operator) == 0


def test_a_burst_of_services_reconciles_the_version_a_few_times(
    plane: RunningControlPlane, world: World, tmp_path: Path
) -> None:
    declare(world)
    with operating(plane, tmp_path) as operator:
        world.ready()
        operator.wait_idle()
        before = operator.metrics().sum("gatehouse_reconciles_total", kind="modelversions")
        world.apply(*(service(world, f"granite-{number}") for number in range(200)))
        deployed(world, "staging")
        last = service(world, "last", uri="s3://elsewhere/model/")
        world.apply(last)
        until(
            lambda: operator.metrics().sum("gatehouse_cached_objects", kind=SERVICES) == 201, what="not all are cached"
        )
        operator.wait_idle()
        made = operator.metrics().sum("gatehouse_reconciles_total", kind="modelversions") - before
        assert 0 < made <= 20


def store_as_another_version(world: World) -> None:
    """New services are stored in the version v1, which nobody serves; the API server converts them."""
    [version] = world.kube.request("GET", DEFINITION)["spec"]["versions"]
    versions = [{**version, "storage": False}, {**version, "name": "v1", "served": False, "storage": True}]
    patch(world, {"versions": versions})
    until(lambda: "v1" in world.kube.request("GET", DEFINITION)["status"]["storedVersions"], what="v1 is not stored")


def break_webhook(world: World) -> None:
    """The webhook that converts services is away from now on."""
    where = {"service": {"namespace": world.namespace, "name": "nobody", "path": "/convert"}}
    webhook = {"clientConfig": where, "conversionReviewVersions": ["v1"]}
    patch(world, {"conversion": {"strategy": "Webhook", "webhook": webhook}})
    until(lambda: not lists(world), what="services are still listed")


def repair_webhook(world: World) -> None:
    patch(world, {"conversion": {"strategy": "None", "webhook": None}})
    until(lambda: lists(world), what="services are not listed")


def patch(world: World, spec: Manifest) -> None:
    world.kube.request("PATCH", DEFINITION, {"spec": spec}, content_type=MERGE)


def lists(world: World) -> bool:
    try:
        world.kube.request("GET", f"/apis/serving.kserve.io/v1beta1/{SERVICES}")
    except ApiRefused:
        return False
    return True


@pytest.fixture
def converted(world: World) -> Iterator[World]:
    """A service that the API server converts before it lists the service."""
    store_as_another_version(world)
    world.apply(service(world))
    yield world
    repair_webhook(world)


def test_a_broken_conversion_webhook_delays_no_start_and_no_other_kind(
    plane: RunningControlPlane, converted: World, tmp_path: Path
) -> None:
    break_webhook(converted)
    with operating(plane, tmp_path) as operator:
        declare(converted)
        converted.ready()
        until(lambda: failures(operator), what="nobody is told")
        repair_webhook(converted)
        deployed(converted, "staging")


def test_what_runs_stays_known_while_services_cannot_be_listed(
    plane: RunningControlPlane, converted: World, tmp_path: Path
) -> None:
    with operating(plane, tmp_path) as operator:
        declare(converted)
        converted.ready()
        deployed(converted, "staging")
        break_webhook(converted)
        until(lambda: failures(operator), what="nobody is told")
        value = converted.ask("granite-1")
        converted.wait("granite-1", lambda body: body["status"].get("lastHandledReconcileAt") == value)
        deployed(converted, "staging")
        repair_webhook(converted)
        converted.apply(service(converted, uri="s3://elsewhere/model/"))
        deployed(converted)
