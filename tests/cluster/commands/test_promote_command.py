"""`gatehouse promote`: nothing passes a gate that is shut, and what does is the template of the version."""

from __future__ import annotations

import contextlib
import json
import secrets
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from cluster.desk import AUTHOR, DIGEST, Desk, gate, make_desk, pending
from cluster.status import Manifest
from gatehouse.api.meta import ObjectMeta
from gatehouse.domain.serving.template import ServingTemplate, TemplateWriter
from gatehouse_local.ephemeral import RunningControlPlane
from gatehouse_local.errors import ApiRefused
from gatehouse_local.objects import namespace as namespace_manifest

KINDS = (("inferenceservices", "InferenceService", "v1beta1"), ("servingruntimes", "ServingRuntime", "v1alpha1"))


@pytest.fixture
def desk(control_plane: RunningControlPlane) -> Iterator[Desk]:
    with make_desk(control_plane) as made:
        yield made


@pytest.fixture
def stage(desk: Desk) -> Iterator[str]:
    """A namespace labelled for a stage that no other test has."""
    name = f"serve-{secrets.token_hex(4)}"
    labelled = namespace_manifest(name)
    labelled["metadata"] = {**labelled["metadata"], "labels": {"gatehouse.dev/stage": name}}
    desk.admin.apply(labelled)
    yield name
    desk.admin.request("DELETE", f"/api/v1/namespaces/{name}")


def emitted(desk: Desk, version: str) -> ServingTemplate:
    """The template of a version, in its ConfigMap."""
    labels = {f"gatehouse.dev/{key}": "x" for key in ("model", "version", "hardware-profile", "runtime")}
    notes = {"gatehouse.dev/artifact-digest": DIGEST, "gatehouse.dev/model-version": f"{desk.namespace}/{version}"}
    metadata = {"name": version, "namespace": desk.namespace, "labels": labels, "annotations": notes}
    model = {"modelFormat": {"name": "vLLM"}, "runtime": "vllm", "storageUri": f"s3://models/{version}/"}
    template = ServingTemplate(
        inference_service={
            "apiVersion": "serving.kserve.io/v1beta1",
            "kind": "InferenceService",
            "metadata": metadata,
            "spec": {"predictor": {"model": model}},
        },
        serving_runtime={
            "apiVersion": "serving.kserve.io/v1alpha1",
            "kind": "ServingRuntime",
            "metadata": {"name": "vllm", "namespace": desk.namespace},
            "spec": {"containers": [{"name": "kserve-container", "image": "vllm"}]},
        },
    )
    uid = desk.get("modelversions", version)["metadata"]["uid"]
    owner = ObjectMeta(name=version, namespace=desk.namespace, uid=uid)
    desk.admin.apply(TemplateWriter().config_map(template, owner=owner))
    return template


def cleared(desk: Desk, stage: str, version: str = "granite-1") -> Manifest:
    """A version that is cleared for one stage, with its template."""
    made = desk.version(version, by="admin", status={})
    template = emitted(desk, version)
    generation = made["metadata"]["generation"]
    ready = {"type": "Ready", "status": "True", "reason": "ReadyToDeploy", "message": "every gate is open"}
    status: dict[str, Any] = {
        "observedGeneration": generation,
        "phase": "Ready to Deploy",
        "clearedFor": [stage],
        "gates": [gate("Registered"), gate("PolicyCompliant", stage=stage), gate("Approved", stage=stage)],
        "template": {"name": f"{version}-serving", "digest": template.digest},
        "conditions": [{**ready, "observedGeneration": generation, "lastTransitionTime": "2026-11-21T12:00:00Z"}],
    }
    return desk.set_status(version, status)


def test_a_shut_gate_is_shown_with_what_is_owed(desk: Desk) -> None:
    desk.version("granite-1", status=pending())
    said = desk.run("promote", "granite-1", "--to=production", "--dry-run", user=AUTHOR)
    assert said.exit_code == 1
    assert "open Registered" in said.stdout
    assert "shut Approved for staging  no approval" in said.stdout
    assert "shut Approved for production  no approval" in said.stdout
    assert "is not cleared for production: Approved for staging: no approval; Approved for production" in said.stderr
    first = desk.run("promote", "granite-1", "--to=staging", "--dry-run", "-o", "json", user=AUTHOR)
    shown = json.loads(first.stdout)
    assert (shown["cleared"], shown["owed"]) == (False, ["Approved for staging: no approval"])
    assert {each.get("stage", "") for each in shown["gates"]} == {"", "staging"}
    printed = desk.run("promote", "granite-1", "--to=staging", user=AUTHOR)
    assert (printed.exit_code, printed.stdout) == (1, "")


def test_a_stage_that_is_none_is_refused(desk: Desk) -> None:
    desk.version("granite-1", status=pending())
    said = desk.run("promote", "granite-1", "--to=moon", "--dry-run", user=AUTHOR)
    assert said.exit_code == 2
    assert "stage is moon; expected: a stage of the registry: staging, production" in said.stderr


def test_what_is_cleared_is_printed_for_the_namespace_of_the_stage(desk: Desk, stage: str) -> None:
    cleared(desk, stage)
    assert desk.run("promote", "granite-1", f"--to={stage}", "--dry-run").exit_code == 0
    said = desk.run("promote", "granite-1", f"--to={stage}", user=AUTHOR)
    assert said.exit_code == 0, said.output
    runtime, service = yaml.safe_load_all(said.stdout)
    assert (runtime["metadata"]["namespace"], service["metadata"]["namespace"]) == (stage, stage)
    assert service["metadata"]["labels"]["gatehouse.dev/stage"] == stage
    assert service["spec"]["predictor"]["model"]["storageUri"] == "s3://models/granite-1/"


def test_a_namespace_of_another_stage_is_refused(desk: Desk, stage: str) -> None:
    cleared(desk, "staging")
    said = desk.run("promote", "granite-1", "--to=staging", f"--namespace={stage}")
    assert (said.exit_code, said.stdout) == (2, "")
    assert (
        f"namespace {stage} is labelled gatehouse.dev/stage={stage}; expected: a namespace of stage staging"
        in said.stderr
    )


def test_an_older_status_clears_nothing(desk: Desk, stage: str) -> None:
    cleared(desk, stage)
    desk.admin.request(
        "PATCH",
        desk.path("modelversions", "granite-1"),
        {"spec": {"serving": {"maxModelLen": 1}}},
        content_type="application/merge-patch+json",
    )
    said = desk.run("promote", "granite-1", f"--to={stage}")
    assert (said.exit_code, said.stdout) == (1, "")
    assert "has not reconciled this generation yet" in said.stderr


@pytest.fixture
def kserve(desk: Desk) -> Iterator[None]:
    """KServe's kinds, where the control plane has none."""
    made = [each for each in (_definition(*kind) for kind in KINDS) if not _is_there(desk, each)]
    for definition in made:
        desk.admin.apply(definition)
    desk.admin.wait_served(made)
    yield
    for definition in made:
        desk.admin.request("DELETE", desk.admin.path_of(definition))


def _is_there(desk: Desk, definition: Manifest) -> bool:
    with contextlib.suppress(ApiRefused):
        desk.admin.request("GET", desk.admin.path_of(definition))
        return True
    return False


def _definition(plural: str, kind: str, version: str) -> Manifest:
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.serving.kserve.io"},
        "spec": {
            "group": "serving.kserve.io",
            "scope": "Namespaced",
            "names": {"plural": plural, "singular": kind.lower(), "kind": kind},
            "versions": [{"name": version, "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}],
        },
    }


@pytest.mark.usefixtures("kserve")
def test_applying_writes_both_objects_or_says_who_refused(desk: Desk, stage: str) -> None:
    cleared(desk, stage)
    said = desk.run("promote", "granite-1", f"--to={stage}", "--apply", user="admin")
    if said.exit_code == 0:
        written = f"/apis/serving.kserve.io/v1beta1/namespaces/{stage}/inferenceservices"
        (service,) = desk.admin.request("GET", written)["items"]
        assert service["metadata"]["labels"]["gatehouse.dev/stage"] == stage
        assert [line.split()[1] for line in said.stdout.splitlines()] == ["applied", "applied"]
    else:
        # Where the gate is installed it knows nothing of an operator that does not run here.
        assert (said.exit_code, "ValidatingAdmissionPolicy" in said.stderr) == (2, True), said.output
