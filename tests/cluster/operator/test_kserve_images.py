"""The storage initializer of the cluster's own KServe on a real API server: it is let through, and nobody else's is."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator

import pytest

from cluster.rig import Operator, until
from cluster.world import World
from gatehouse.cluster.kserve import CONFIG, WEBHOOKS
from gatehouse_local.ephemeral import RunningControlPlane
from gatehouse_local.errors import ApiRefused

IMAGE = f"mirror.example.com/kserve/storage-initializer@sha256:{'5e' * 32}"
ANOTHER = "mirror.example.com/of-somebody/storage-initializer:v1"
WEBHOOKS_PATH = f"/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/{WEBHOOKS}"


@pytest.fixture(scope="module")
def operator(installed: RunningControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    """One that reads KServe's configuration each second."""
    folder = tmp_path_factory.mktemp("operator")
    with contextlib.closing(Operator(installed, folder, arguments=["--probe-interval=1s"])) as running:
        yield running.start()


def configure(world: World, image: str) -> None:
    """As KServe is configured in the world's namespace."""
    world.kube.apply(
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": CONFIG, "namespace": world.namespace},
            "data": {"storageInitializer": json.dumps({"image": image})},
        }
    )


@pytest.fixture
def kserve(world: World) -> Iterator[World]:
    """The API server is told that KServe is in the world's namespace, and sends nothing there: nobody is there."""
    configure(world, IMAGE)
    webhook = {
        "name": "inferenceservice.kserve-webhook-server.defaulter",
        "clientConfig": {"service": {"name": "kserve-webhook-server-service", "namespace": world.namespace}},
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
        "failurePolicy": "Ignore",
        "rules": [],
    }
    world.kube.apply(
        {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "MutatingWebhookConfiguration",
            "metadata": {"name": WEBHOOKS},
            "webhooks": [webhook],
        }
    )
    try:
        yield world
    finally:
        with contextlib.suppress(ApiRefused):  # a test deletes it itself
            world.kube.request("DELETE", WEBHOOKS_PATH)


def listed(world: World) -> set[str]:
    """The initializers that admission lets through for artifacts of the world's bucket."""
    return {image for spec in world.vetted() for image in spec["initializers"]}


def test_what_the_clusters_kserve_loads_models_with_is_let_through_as_long_as_it_does(
    kserve: World, operator: Operator
) -> None:
    kserve.upload()
    kserve.apply(kserve.registry(), kserve.model(), kserve.version())
    kserve.ready()
    until(lambda: IMAGE in listed(kserve), what=lambda: f"not told: {listed(kserve)}\n{operator.tail()}")
    configure(kserve, ANOTHER)
    until(
        lambda: {IMAGE, ANOTHER} & listed(kserve) == {ANOTHER},
        what=lambda: f"not told: {listed(kserve)}\n{operator.tail()}",
    )
    kserve.kube.request("DELETE", WEBHOOKS_PATH)
    # The ConfigMap is still there; without the word of the API server it is anybody's.
    until(lambda: listed(kserve) and not {IMAGE, ANOTHER} & listed(kserve), what="it is let through without a KServe")
