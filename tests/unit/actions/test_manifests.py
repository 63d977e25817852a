"""Folders of manifests, and the shipped one."""

from __future__ import annotations

from pathlib import Path

import pytest

from gatehouse.actions.manifests import in_namespace, in_registry, load_folder
from gatehouse.api.meta import ObjectReference
from gatehouse.api.model_version import ModelVersion
from gatehouse.api.registered_model import RegisteredModel
from gatehouse.errors import InputInvalid
from gatehouse.install.shipped_files import shipped

MODEL = """
apiVersion: gatehouse.dev/v1alpha1
kind: RegisteredModel
metadata: {name: m, namespace: a}
spec: {}
"""
PROFILE = (shipped("manifests/hardware") / "nvidia-l4.yaml").read_text()


def write(folder: Path, **files: str) -> Path:
    for name, content in files.items():
        (folder / f"{name}.yaml").write_text(content)
    return folder


def test_the_shipped_seed_is_the_granite_model() -> None:
    model, version = load_folder(shipped("manifests/seed"))
    assert str(model) == "RegisteredModel private-ai/granite-3.1-8b-instruct-fp8"
    assert str(version) == "ModelVersion private-ai/granite-3.1-8b-instruct-fp8-3.1-may2025-validated"
    spec = ModelVersion.model_validate(version.body).spec
    assert (spec.model_ref.name, spec.version) == (model.name, "3.1-May2025-Validated")
    assert spec.artifact.uri == "s3://models/granite-3.1-8b-instruct-FP8-dynamic/"
    assert RegisteredModel.model_validate(model.body).spec.display_name == "Granite-3.1-8b-Instruct-FP8"


def test_profiles_come_before_models_and_a_kustomization_is_no_object(tmp_path: Path) -> None:
    found = load_folder(write(tmp_path, a=MODEL, z=PROFILE, kustomization="resources: [a.yaml]"))
    assert [each.kind.info.kind for each in found] == ["HardwareProfile", "RegisteredModel"]


def test_objects_move_to_another_namespace_and_registry(tmp_path: Path) -> None:
    objects = load_folder(write(tmp_path, a=MODEL, z=PROFILE))
    profile, model = in_registry(in_namespace(objects, "b"), ObjectReference(name="r", namespace="n"))
    assert (profile.namespace, model.namespace) == ("", "b")
    assert model.body["metadata"]["namespace"] == "b"
    assert model.body["spec"]["registryRef"] == {"name": "r", "namespace": "n"}
    assert profile.body == objects[0].body


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "no manifests in"),
        ({"a": MODEL, "b": MODEL}, "declared twice, in"),
        ({"a": "kind: Secret\napiVersion: v1\nmetadata: {name: x}"}, "'v1' 'Secret'; expected: gatehouse.dev/v1alpha1"),
        ({"a": "- x"}, "expected: Kubernetes objects"),
        ({"a": "a: [" * 100}, "YamlTooDeep"),
        ({"a": MODEL.replace("name: m, ", "")}, "without metadata.name"),
        ({"a": MODEL.replace(", namespace: a", "")}, "has no metadata.namespace"),
        ({"a": MODEL.replace("spec: {}", "spec: {riskTier: None}")}, "spec.riskTier"),
        ({"a": PROFILE.replace("23034Mi", "lots")}, "spec.accelerator.memory"),
    ],
)
def test_a_folder_that_is_not_right_is_refused_with_the_file(tmp_path: Path, files: dict[str, str], words: str) -> None:
    with pytest.raises(InputInvalid) as raised:
        load_folder(write(tmp_path, **files))
    assert words in str(raised.value)
    assert str(tmp_path) in str(raised.value)
