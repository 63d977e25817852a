"""A revision is what its name says: other bytes, templates or arguments are another one, and a forged one is none."""

from __future__ import annotations

import copy
from dataclasses import fields, replace
from typing import Any

import pytest

from gatehouse.domain.common.finding import Finding
from gatehouse.domain.deployment.revision import (
    ANNOTATION_REVISION,
    RevisionKey,
    read_revision,
    revision_object,
    runtime_object,
    service_object,
)
from gatehouse.domain.serving.template import ServingTemplate, render
from unit.domain.deployment.deployments import NAMESPACE, deployment
from unit.domain.serving.serving_inputs import DIGEST, serving_input

TEMPLATE = render(serving_input())
KEY = RevisionKey(
    deployment="chat",
    version="granite",
    digest=DIGEST,
    served_digest="sha256:" + "b" * 64,
    template_digest=TEMPLATE.digest,
    served_name="granite",
)
CHAT = deployment()


def kept() -> dict[str, Any]:
    return copy.deepcopy(revision_object(KEY, TEMPLATE, owner=CHAT.metadata, number=1))


@pytest.mark.parametrize("field", [field.name for field in fields(RevisionKey)])
def test_each_part_of_a_revision_is_in_its_name(field: str) -> None:
    assert replace(KEY, **{field: "other"}).name != KEY.name
    assert replace(KEY).name == KEY.name


def test_parts_that_run_together_are_told_apart() -> None:
    assert replace(KEY, version="a", digest="bc").name != replace(KEY, version="ab", digest="c").name


def test_what_is_kept_is_read_again() -> None:
    assert read_revision(kept(), KEY) == TEMPLATE
    [owner] = kept()["metadata"]["ownerReferences"]
    assert (owner["uid"], owner["controller"], owner["blockOwnerDeletion"]) == ("d-1", True, False)


@pytest.mark.parametrize(
    "path",
    [
        ("inferenceService", "spec", "predictor", "model", "storageUri"),
        ("inferenceService", "metadata", "annotations", "gatehouse.dev/artifact-digest"),
        ("servingRuntime", "spec", "containers"),
    ],
)
def test_a_changed_template_is_no_revision(path: tuple[str, ...]) -> None:
    body = kept()
    node = body["data"]
    for name in path[:-1]:
        node = node[name]
    node[path[-1]] = "s3://models/evil/"
    read = read_revision(body, KEY)
    assert isinstance(read, Finding)
    assert read.reason == "RevisionAltered"


@pytest.mark.parametrize(
    "data",
    [
        None,
        {},
        [],
        "x",
        {"inferenceService": {}},
        {"inferenceService": 1, "servingRuntime": 2},
        {"inferenceService": {}, "servingRuntime": {}},
    ],
)
def test_an_object_without_a_template_is_no_revision(data: Any) -> None:
    assert isinstance(read_revision({"data": data}, KEY), Finding)


def test_a_template_of_another_artifact_is_no_revision() -> None:
    other = render(serving_input(digest="sha256:" + "c" * 64))
    key = replace(KEY, template_digest=other.digest)
    assert isinstance(read_revision(revision_object(key, other, owner=CHAT.metadata, number=1), key), Finding)


def test_the_service_has_the_name_of_the_deployment_the_mark_of_the_revision_and_one_served_name() -> None:
    made = service_object(KEY, TEMPLATE, deployment(replicas=3), name="chat", stage="production", uid=None)
    metadata, predictor = made["metadata"], made["spec"]["predictor"]
    assert (metadata["name"], metadata["namespace"]) == ("chat", NAMESPACE)
    assert "uid" not in metadata
    assert metadata["annotations"][ANNOTATION_REVISION] == KEY.name
    assert metadata["annotations"]["gatehouse.dev/artifact-digest"] == DIGEST
    assert metadata["labels"]["gatehouse.dev/stage"] == "production"
    assert predictor["model"]["args"] == [
        *TEMPLATE.inference_service["spec"]["predictor"]["model"]["args"],
        "--served-model-name=granite",
    ]
    assert (predictor["minReplicas"], predictor["maxReplicas"]) == (3, 3)
    assert service_object(KEY, TEMPLATE, CHAT, name="chat", stage="production", uid="s-1")["metadata"]["uid"] == "s-1"
    assert render(serving_input()) == TEMPLATE, "the template is not changed in place"


def test_the_runtime_moves_to_the_namespace_and_keeps_its_name() -> None:
    moved = runtime_object(TEMPLATE, namespace=NAMESPACE)
    assert moved["metadata"]["namespace"] == NAMESPACE
    assert moved["metadata"]["name"] == TEMPLATE.inference_service["spec"]["predictor"]["model"]["runtime"]
    assert moved["spec"] == TEMPLATE.serving_runtime["spec"]


def test_a_template_holds_only_json() -> None:
    strange = ServingTemplate(inference_service={"metadata": {1: object()}}, serving_runtime={})
    assert isinstance(
        read_revision({"data": {"inferenceService": dict(strange.inference_service), "servingRuntime": {}}}, KEY),
        Finding,
    )
