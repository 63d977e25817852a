"""Answers: what the real Python client reads of them, and what no answer may contain."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import mr_openapi
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from gatehouse.domain.common.bounded_json import JsonValue
from gatehouse.domain.entries.artifact_uris import ArtifactAddress, write_artifact_uri
from gatehouse.domain.entries.entry import ARTIFACT_KINDS, LARGEST_ID, Entry, EntryKind, Governed
from gatehouse.domain.entries.properties import Property
from gatehouse.server.kubeflow.answers import write_entry, write_list
from gatehouse.server.kubeflow.members import API_VERSIONS, ApiVersion
from gatehouse.server.kubeflow.openapi import openapi_document
from gatehouse.server.kubeflow.resources import RESOURCES, resource_of

CREATED = datetime(2026, 12, 1, 10, 0, 0, 123_999, tzinfo=UTC)
PROPERTIES = {
    "int": Property("int", -7),
    "double": Property("double", 0.5),
    "text": Property("string", "x"),
    "label": Property("string", ""),
    "bool": Property("bool", False),
    "struct": Property("struct", "e30="),
    "proto": Property("proto", "AA==", "a/b"),
}
READY = Governed(
    object_name="granite-1.0",
    phase="Ready to Deploy",
    digest="sha256:0",
    cleared_for=("staging",),
    hardware_profile="h100",
    fit="Fits",
    uri="s3://models/granite/",
)
CLIENTS: dict[EntryKind, Any] = {
    "registered_model": mr_openapi.RegisteredModel,
    "model_version": mr_openapi.ModelVersion,
    "model_artifact": mr_openapi.ModelArtifact,
    "doc_artifact": mr_openapi.DocArtifact,
    "dataset_artifact": mr_openapi.DataSet,
    "metric": mr_openapi.Metric,
    "parameter": mr_openapi.Parameter,
    "serving_environment": mr_openapi.ServingEnvironment,
    "inference_service": mr_openapi.InferenceService,
    "serve_model": mr_openapi.ServeModel,
}
LISTS: dict[str, Any] = {
    "registered_model": mr_openapi.RegisteredModelList,
    "model_version": mr_openapi.ModelVersionList,
    "model_artifact": mr_openapi.ModelArtifactList,
    "serving_environment": mr_openapi.ServingEnvironmentList,
    "inference_service": mr_openapi.InferenceServiceList,
    "serve_model": mr_openapi.ServeModelList,
}
EXAMPLES: dict[str, JsonValue] = {
    "text": "some text",
    "texts": ["en", "cs"],
    "id": "7",
    "number": 0.25,
    "int64": "1764547200000",
    "step": 3,
}


def whole(kind: EntryKind, **values: Any) -> Entry:
    """An entry with every member of its kind."""
    members = {
        member.name: member.values[0] if member.values else EXAMPLES[member.type]
        for member in resource_of(kind).members
        if member.target == "members"
    }
    states = [member.values[-1] for member in resource_of(kind).members if member.target == "state"]
    base = Entry(
        kind=kind,
        namespace="team",
        name="granite 3.1, 8b:latest",
        external_id="huggingface.co/ibm",
        parent_id=LARGEST_ID,
        state="".join(states),
        members=members,
        properties=PROPERTIES,
        id=LARGEST_ID,
        created_at=CREATED,
        updated_at=CREATED + timedelta(microseconds=1),
    )
    return replace(base, **values)


def bare(kind: EntryKind) -> Entry:
    """An entry with as little as a kind can have."""
    required: dict[str, JsonValue] = {
        member.name: EXAMPLES[member.type]
        for member in resource_of(kind).members
        if member.target == "members" and member.required
    }
    return whole(kind, external_id=None, members=required, properties={}, state="")


def outward(uri: str) -> str:
    return write_artifact_uri(ArtifactAddress(uri=uri, endpoint="https://s3", region="eu-1"))


def validator(schema: str, version: ApiVersion) -> Draft202012Validator:
    document = openapi_document(version)
    return Draft202012Validator({"$ref": f"#/components/schemas/{schema}", "components": document["components"]})


@pytest.mark.parametrize("kind", sorted(CLIENTS))
@pytest.mark.parametrize("make", [whole, bare, lambda kind: whole(kind, governed=READY, state="RECORDED")])
def test_the_clients_read_every_kind(kind: EntryKind, make: Any) -> None:
    wire = write_entry(make(kind), version="v1", outward=outward)
    read = CLIENTS[kind].from_json(json.dumps(wire))
    # The client sends no times back.
    times = {"createTimeSinceEpoch", "lastUpdateTimeSinceEpoch"}
    assert json.loads(read.to_json()) == {name: value for name, value in wire.items() if name not in times}
    assert read.create_time_since_epoch == wire["createTimeSinceEpoch"]
    assert read.last_update_time_since_epoch == wire["lastUpdateTimeSinceEpoch"]


@pytest.mark.parametrize("kind", sorted(LISTS))
def test_the_clients_read_lists(kind: EntryKind) -> None:
    wire = write_list([whole(kind), bare(kind)], version="v1", next_page_token="AAA", page_size=2)
    read = LISTS[kind].from_json(json.dumps(wire))
    assert (len(read.items), read.next_page_token, read.page_size, read.size) == (2, "AAA", 2, 2)
    last = write_list([], version="v1", next_page_token="", page_size=None)
    assert last == {"items": [], "nextPageToken": "", "pageSize": 0, "size": 0}
    assert LISTS[kind].from_json(json.dumps(last)).items == []


def test_the_clients_read_lists_of_all_artifacts() -> None:
    wire = write_list([whole(kind) for kind in ARTIFACT_KINDS], version="v1", next_page_token="", page_size=None)
    read = mr_openapi.ArtifactList.from_json(json.dumps(wire))
    assert [type(item.actual_instance) for item in read.items] == [CLIENTS[kind] for kind in ARTIFACT_KINDS]


@pytest.mark.parametrize("version", API_VERSIONS)
@pytest.mark.parametrize("resource", RESOURCES, ids=lambda resource: resource.schema)
def test_every_answer_is_what_the_description_says(resource: Any, version: ApiVersion) -> None:
    if version not in resource.versions:
        return
    schema = validator(resource.schema, version)
    for entry in (whole(resource.kind), bare(resource.kind), whole(resource.kind, governed=READY)):
        wire = write_entry(entry, version=version, outward=outward)
        schema.validate(wire)
        assert set(wire) <= {member.name for member in resource.of_version(version)}
    assert set(write_entry(whole(resource.kind), version=version)) == {
        member.name for member in resource.of_version(version)
    }


def test_a_model_version_in_full() -> None:
    assert write_entry(whole("model_version", properties={}), version="v1") == {
        "id": "999999999",
        "name": "granite 3.1, 8b:latest",
        "externalId": "huggingface.co/ibm",
        "description": "some text",
        "customProperties": {},
        "createTimeSinceEpoch": "1796119200123",
        "lastUpdateTimeSinceEpoch": "1796119200124",
        "registeredModelId": "999999999",
        "author": "some text",
        "state": "ARCHIVED",
    }


@pytest.mark.parametrize("state", ["", "RECORDED", "Ready to Deploy", "live"])
def test_a_state_that_the_contract_does_not_have_never_leaves(state: str) -> None:
    states = {
        "registered_model": "LIVE",
        "model_version": "LIVE",
        "model_artifact": "UNKNOWN",
        "experiment_run": "LIVE",
    }
    for kind, default in states.items():
        assert write_entry(whole(kind, state=state), version="v1alpha3")["state"] == default  # type: ignore[arg-type]
    assert write_entry(whole("inference_service", state=state), version="v1")["desiredState"] == "DEPLOYED"
    assert write_entry(whole("serve_model", state=state), version="v1")["lastKnownState"] == "UNKNOWN"


def test_the_step_of_a_metric_is_a_text_in_v1_only() -> None:
    for kind in ("metric", "metric_record"):
        metric = whole(kind if kind == "metric_record" else "metric", members={"value": 1, "step": 3})
        assert write_entry(metric, version="v1")["step"] == "3"
        assert write_entry(metric, version="v1alpha3")["step"] == 3
        assert write_entry(metric, version="v1")["artifactType"] == "metric"


def test_experiments_are_in_the_alpha_version_only() -> None:
    artifact = whole("model_artifact")
    assert write_entry(artifact, version="v1alpha3").keys() - write_entry(artifact, version="v1").keys() == {
        "experimentId",
        "experimentRunId",
    }


def test_a_governed_artifact_shows_the_uri_that_is_verified() -> None:
    governed = whole("model_artifact", governed=READY)
    assert write_entry(governed, version="v1", outward=outward)["uri"] == (
        "s3://models/granite/?endpoint=https://s3&defaultRegion=eu-1"
    )
    assert write_entry(governed, version="v1")["uri"] == "s3://models/granite/"
    assert write_entry(whole("model_artifact"), version="v1")["uri"] == "some text"


def test_a_version_that_is_ready_has_the_label() -> None:
    wire = write_entry(whole("model_version", governed=READY), version="v1")["customProperties"]
    assert isinstance(wire, dict)
    assert wire.keys() - PROPERTIES.keys() == {
        "Ready to Deploy",
        *(f"gatehouse.{name}" for name in ("phase", "digest", "cleared_for", "hardware_profile", "fit")),
    }
    assert wire["Ready to Deploy"] == {"metadataType": "MetadataStringValue", "string_value": ""}


@given(st.datetimes(datetime(1960, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001
def test_times_are_whole_milliseconds(moment: datetime) -> None:
    wire = write_entry(whole("model_version", created_at=moment), version="v1")
    milliseconds = int(str(wire["createTimeSinceEpoch"]))
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    assert timedelta() <= since - timedelta(milliseconds=milliseconds) < timedelta(milliseconds=1)
