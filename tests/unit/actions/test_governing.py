"""The objects that stand for a version of a client."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from gatehouse.actions.governing import governed_manifests
from gatehouse.api.model_registry import ModelRegistry
from gatehouse.domain.entries.entry import Entry, NewEntry
from gatehouse.domain.entries.properties import Property
from gatehouse.errors import InputInvalid

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def registry(**defaults: str) -> ModelRegistry:
    return ModelRegistry.model_validate(
        {"metadata": {"name": "registry", "namespace": "models", "generation": 1}, "spec": {"defaults": defaults}}
    )


def entry(kind: Any, name: str, key: str, **members: Any) -> Entry:
    return Entry(
        id=1,
        kind=kind,
        namespace="team",
        name=name,
        key=key,
        parent_key="granite" if kind == "model_version" else "",
        state="LIVE",
        members=members,
        created_at=NOW,
        updated_at=NOW,
    )


def specs(
    *, defaults: dict[str, str] | None = None, properties: dict[str, Property] | None = None, **members: Any
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The specs of the model and the version."""
    made = governed_manifests(
        registry=registry(**({"hardwareProfileRef": "nvidia-l4"} if defaults is None else defaults)),
        model=entry("registered_model", "Granite", "granite", provider="IBM", license="x" * 5_000, tasks=["a"]),
        version=entry("model_version", "3.1, May", "3.1-may", description="a first one"),
        artifact=NewEntry(
            kind="model_artifact",
            namespace="team",
            name="Granite",
            state="LIVE",
            properties=properties or {},
            members={"uri": "s3://models/granite/", **members},
        ),
        submitted_by="ann",
    )
    return made.model["spec"], made.version["spec"]


def test_the_objects_have_what_the_client_wrote_and_the_kinds_accept() -> None:
    model, version = specs(modelFormatName="ONNX")
    assert (model["displayName"], model["provider"], model["tasks"]) == ("Granite", "IBM", ["a"])
    assert "license" not in model
    assert version["artifact"] == {"uri": "s3://models/granite/", "format": "onnx"}
    assert (version["version"], version["modelRef"], version["submittedBy"]) == ("3.1-may", {"name": "granite"}, "ann")
    assert version["description"] == "a first one"


@pytest.mark.parametrize("name", ["pytorch", "vLLM", "", "safe tensors", None])
def test_a_name_that_is_no_format_is_left_to_the_files(name: str | None) -> None:
    assert specs(modelFormatName=name)[1]["artifact"].get("format", "safetensors") == "safetensors"


def test_properties_come_before_the_defaults_of_the_registry() -> None:
    chosen = {
        "gatehouse.hardware_profile": Property("string", "nvidia-h100"),
        "gatehouse.runtime": Property("string", "vLLM"),
    }
    assert specs(properties=chosen)[1]["hardwareProfileRef"] == {"name": "nvidia-h100"}
    assert specs()[1]["hardwareProfileRef"] == {"name": "nvidia-l4"}


def test_without_a_hardware_profile_the_way_out_is_named() -> None:
    with pytest.raises(InputInvalid, match=r"gatehouse\.hardware_profile, or spec\.defaults\.hardwareProfileRef"):
        specs(defaults={})


def test_a_value_that_the_kind_refuses_is_named() -> None:
    with pytest.raises(InputInvalid, match=r"runtime is 'Unknown'"):
        specs(properties={"gatehouse.runtime": Property("string", "Unknown")})
