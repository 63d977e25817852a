"""Each overlay on a node with real Pods: from nothing to Ready to Deploy, off again with its data kept, on again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from e2e.databases import DATABASES, renewed_while_it_is_used
from e2e.installation import COMPLETE, CONNECTIONS, MODEL, READY, SEEDED, VERSION, Installation
from e2e.machine import Machine
from storeaccess import READS, WRITES

MODELS = "/api/model_registry/v1alpha3/registered_models"
NO_CREDENTIALS = "the request has no credentials; expected: the header Authorization: Bearer TOKEN"


@pytest.fixture
def nothing(node: Machine) -> Iterator[Machine]:
    """The node with nothing of Gatehouse, before and after."""
    assert node.get("customresourcedefinitions")["items"] == []
    yield node
    assert node.get("customresourcedefinitions")["items"] == []


def versions_of_objects(node: Machine) -> dict[str, str]:
    """The resourceVersion of all that an installation made and nothing else changes by itself."""
    kinds = "customresourcedefinitions,modelregistries,registeredmodels,modelversions,hardwareprofiles,secrets"
    found = node.get(kinds, "--all-namespaces")["items"]
    return {
        f"{each['kind']} {each['metadata'].get('namespace')}/{each['metadata']['name']}": each["metadata"]["generation"]
        if each["kind"] == "CustomResourceDefinition"
        else each["metadata"]["resourceVersion"]
        for each in found
    }


@pytest.mark.parametrize("overlay", ["rhoai", "postgres", "embedded"])
def test_an_overlay_from_nothing_to_ready_and_off_again(nothing: Machine, tmp_path: Path, overlay: str) -> None:
    installation = Installation(node=nothing, overlay=overlay)
    try:
        said = installation.deploy()
        assert COMPLETE in said
        assert "kubectl get modelversions" in said
        assert COMPLETE in nothing.logs(SEEDED[overlay], "job/model-registry-seed")
        installation.wait_phase("Artifact Missing")

        assert "sha256:" in installation.upload(tmp_path / "granite")
        installation.look_again()
        status = installation.wait_phase(READY)
        assert READY in nothing.kubectl("get", "modelversions", "--all-namespaces")
        assert installation.gatehouse("template", VERSION, "-n", installation.models)

        assert installation.rest(MODELS) == (401, {"code": "Unauthorized", "message": NO_CREDENTIALS})
        code, listed = installation.rest(MODELS, token=installation.token("viewer", "gatehouse-viewer"))
        assert (code, [item["name"] for item in listed["items"]]) == (200, [MODEL])
        assert installation.rest(MODELS, token=installation.token("stranger"))[1]["items"] == []

        if overlay in DATABASES:
            DATABASES[overlay].wait_served(nothing)
        assert installation.may(*CONNECTIONS[overlay]) == READS
        assert installation.may("minio", "minio-uploader") == WRITES

        installation.wait_counted()
        before = versions_of_objects(nothing)
        assert COMPLETE in installation.deploy()
        assert versions_of_objects(nothing) == before

        kept = installation.undeploy()
        assert "kept" in kept.lower()
        assert nothing.get("pods", "--all-namespaces", "--selector=app.kubernetes.io/part-of=gatehouse")["items"] == []
        assert installation.version()["registryId"] == status["registryId"]

        installation.deploy()
        installation.look_again()
        again = installation.wait_phase(READY)
        assert (again["registryId"], again["artifact"]["digest"]) == (
            status["registryId"],
            status["artifact"]["digest"],
        )
    finally:
        installation.undeploy("--delete-data")


def test_a_certificate_of_postgresql_that_ends_soon_is_renewed_and_served(nothing: Machine) -> None:
    installation, database = Installation(node=nothing, overlay="postgres"), DATABASES["postgres"]
    try:
        installation.deploy()
        renewed_while_it_is_used(installation, database)
    finally:
        installation.undeploy("--delete-data")


def test_the_seed_needs_no_object_store(nothing: Machine) -> None:
    installation = Installation(node=nothing, overlay="embedded")
    try:
        assert COMPLETE in installation.gatehouse("deploy", "embedded")
        assert installation.version()["phase"] == "Verifying"
    finally:
        installation.undeploy("--delete-data")
