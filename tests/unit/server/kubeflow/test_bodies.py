"""Bodies of requests: the texts that clients compare, and every member by its declaration."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatehouse.domain.entries.entry import LONGEST_NAME, Entry, Governed, NewEntry
from gatehouse.domain.entries.properties import Property
from gatehouse.server.errors import RequestError
from gatehouse.server.kubeflow.bodies import (
    LARGEST_BODY,
    EntryBody,
    check_artifact_type,
    new_entry,
    read_body,
    updated_entry,
)
from gatehouse.server.kubeflow.members import API_VERSIONS, ApiVersion, BodyForm
from gatehouse.server.kubeflow.resources import ARTIFACTS, RESOURCES, RestResource, resource_of

MODEL = (resource_of("registered_model"),)
VERSION = (resource_of("model_version"),)
NOW = datetime(2026, 12, 1, tzinfo=UTC)
TEXT = {"metadataType": "MetadataStringValue", "string_value": "x"}


def read(
    document: object, *, resources: tuple[RestResource, ...], form: BodyForm = "create", version: ApiVersion = "v1"
) -> EntryBody:
    data = document if isinstance(document, bytes) else json.dumps(document).encode()
    return read_body(data, form=form, resources=resources, version=version)


def refusal(document: object, **arguments: Any) -> RequestError:
    with pytest.raises(RequestError) as raised:
        read(document, **arguments)
    return raised.value


def entry(kind: str = "model_version", **values: Any) -> Entry:
    base = Entry(
        kind=kind,  # type: ignore[arg-type]
        namespace="team",
        name="1.0",
        parent_id=1,
        state="LIVE",
        id=2,
        created_at=NOW,
        updated_at=NOW,
        members={"author": "ada", "description": "old"},
        properties={"a": Property("string", "x")},
    )
    return replace(base, **values)


def example(resource: RestResource, form: BodyForm, version: ApiVersion) -> dict[str, Any]:
    """A body with every member that the form may have."""
    examples: Mapping[str, Any] = {
        "text": "some text",
        "id": "7",
        "number": 0,
        "step": "3" if version == "v1" else 3,
        "int64": "1764547200000",
        "texts": ["en", "cs"],
        "properties": {"accuracy": {"metadataType": "MetadataDoubleValue", "double_value": 0.5}},
        "time": "1",
    }
    return {
        member.name: member.values[0] if member.values else examples[member.type]
        for member in resource.of_body(form, version=version).values()
    }


@pytest.mark.parametrize("version", API_VERSIONS)
@pytest.mark.parametrize("form", ["create", "update", "upsert"])
@pytest.mark.parametrize("resource", RESOURCES, ids=lambda resource: resource.schema)
def test_every_member_is_read_and_recorded(resource: RestResource, form: BodyForm, version: ApiVersion) -> None:
    if version not in resource.versions:
        return
    document = example(resource, form, version)
    body = read(document, resources=(resource,), form=form, version=version)
    recorded = new_entry(body, namespace="team", fallback_name="made-up")
    assert recorded.kind == resource.kind
    assert recorded.name == ("made-up" if form == "update" else "some text")
    assert recorded.external_id == "some text"
    assert recorded.properties == {"accuracy": Property("double", 0.5)}
    assert body.id == (7 if form == "upsert" else None)
    members = {
        member.name: 3 if member.type == "step" else document[member.name]
        for member in resource.of_body(form, version=version).values()
        if member.target == "members" and member.forms != {"upsert"}
    }
    assert members.items() <= recorded.members.items()


@pytest.mark.parametrize("resource", RESOURCES, ids=lambda resource: resource.schema)
def test_a_member_of_another_type_is_refused(resource: RestResource) -> None:
    version: ApiVersion = "v1" if "v1" in resource.versions else "v1alpha3"
    for form in ("create", "update", "upsert"):
        whole = example(resource, form, version)
        for name in whole:
            for odd in ({"a": 1}, [1], True, "a\0b", ["a\0b"]):
                error = refusal({**whole, name: odd}, resources=(resource,), form=form, version=version)
                assert error.status == 400
                assert name in error.message


def test_an_unknown_member_is_named_as_go_does() -> None:
    error = refusal({"name": "test_model", "ext_id": 123}, resources=MODEL)
    assert (error.status, error.message) == (400, 'json: unknown field "ext_id"')
    assert refusal({'a"\n\\': 1}, resources=MODEL).message == 'json: unknown field "a\\"\\u000a\\\\"'
    assert len(refusal({"x" * 100_000: 1}, resources=MODEL).message) < 100


def test_a_missing_member_is_named_as_go_does() -> None:
    for document in ({"registeredModelId": "1"}, {"registeredModelId": "1", "name": ""}, {"name": None}):
        error = refusal(document, resources=VERSION)
        assert (error.status, error.message) == (422, "required field 'name' is zero value.")
    error = refusal({"name": "1.0"}, resources=VERSION)
    assert (error.status, error.message) == (422, "required field 'registeredModelId' is zero value.")
    error = refusal({"name": "f1"}, resources=(resource_of("metric"),))
    assert (error.status, error.message) == (400, "metric value is required: bad request")
    assert read({"value": 0}, resources=(resource_of("metric"),)).members == {"value": 0}


def test_an_update_requires_nothing_and_permits_no_member_that_never_changes() -> None:
    assert read({}, resources=VERSION, form="update") == EntryBody(resource=VERSION[0])
    for name in ("name", "registeredModelId", "id", "createTimeSinceEpoch"):
        assert refusal({name: "1"}, resources=VERSION, form="update").message == f'json: unknown field "{name}"'


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (b"", "the body is not valid"),
        (b"{", "the body is not valid"),
        (b"[]", "the body is []; expected a JSON object"),
        (b"5", "the body is 5"),
        (b'{"name": "a", "name": "b"}', "the key 'name' twice"),
        (b'{"name": NaN}', "NaN"),
        (b'{"name": "\\ud800"}', "not valid"),
        (b'{"name": "a"} {"name": "b"}', "not valid"),
        (b"\xff", "not valid"),
        (b"\xef\xbb\xbf{}", "not valid"),
        (b'{"name":' * 33 + b"1" + b"}" * 33, "at most 32 levels"),
        (b'{"name": [' + b"1," * 70_000 + b"1]}", "at most 65536"),
        ({"name": "x" * (LONGEST_NAME + 1)}, "name has 251 characters; expected 1 to 250"),
        ({"name": 5}, "name is 5; expected a text"),
        ({"name": "a\0"}, "without NUL"),
        ({"name": "a", "state": "Ready"}, "state is 'Ready'; expected one of LIVE, ARCHIVED"),
        ({"name": "a", "owner": None}, "owner is null; expected a text"),
        ({"name": "a", "language": "en"}, "language is 'en'; expected a list of texts"),
        ({"name": "a", "tasks": ["x"] * 1_001}, "tasks has 1001 elements"),
        ({"name": "a", "customProperties": None}, "customProperties is None"),
        ({"name": "a", "customProperties": {"a": {}}}, "customProperties['a'].metadataType is missing"),
        (
            {"name": "a", "customProperties": {f"k{number}": TEXT for number in range(10_000)}},
            "has 10000 properties; expected at most 1000",
        ),
    ],
)
def test_refuses_what_is_not_valid(document: object, message: str) -> None:
    error = refusal(document, resources=MODEL)
    assert error.status == 400
    assert message in error.message
    assert len(error.message) < 1_000


def test_a_body_is_bounded() -> None:
    error = refusal(b" " * (LARGEST_BODY + 1), resources=MODEL)
    assert (error.status, str(LARGEST_BODY) in error.message.replace(",", "")) == (400, True)
    assert read({"name": "x" * LONGEST_NAME}, resources=MODEL).name == "x" * LONGEST_NAME


@given(st.binary())
def test_no_bytes_raise_anything_but_a_refusal(data: bytes) -> None:
    with pytest.raises(RequestError):
        read(data, resources=MODEL)


def test_artifact_type_chooses_the_kind() -> None:
    for resource in ARTIFACTS:
        document = {"artifactType": resource.artifact_type, "value": "1"}
        if resource.kind not in {"metric", "parameter"}:
            del document["value"]
        assert (
            read(document, resources=ARTIFACTS, form="update").resource is resource
            if resource.kind != "metric"
            else True
        )
    for document, found in (({}, "missing"), ({"artifactType": "x"}, "'x'"), ({"artifactType": None}, "None")):
        error = refusal(document, resources=ARTIFACTS)
        assert error.status == 400
        assert f"artifactType is {found}; expected one of model-artifact, doc-artifact" in error.message


def test_artifact_type_never_changes() -> None:
    message = "cannot change artifact type from 'model-artifact' to 'doc-artifact': artifact type is immutable"
    error = refusal({"artifactType": "doc-artifact"}, resources=ARTIFACTS[:1], form="update")
    assert (error.status, message in error.message) == (400, True)
    body = read({"artifactType": "doc-artifact"}, resources=ARTIFACTS, form="update")
    with pytest.raises(RequestError) as raised:
        check_artifact_type(ARTIFACTS[0], body)
    assert (raised.value.status, message in raised.value.message) == (400, True)
    check_artifact_type(ARTIFACTS[1], body)
    assert read({"uri": "s3"}, resources=ARTIFACTS[:1], form="update").members == {"uri": "s3"}


def test_a_new_entry_has_the_defaults_of_its_kind() -> None:
    run = new_entry(
        read({"experimentId": "5"}, resources=(resource_of("experiment_run"),), version="v1alpha3"),
        namespace="team",
        fallback_name="made-up",
    )
    assert run == NewEntry(
        kind="experiment_run",
        namespace="team",
        name="made-up",
        parent_id=5,
        state="LIVE",
        members={"status": "RUNNING"},
    )
    service = read(
        {"registeredModelId": "1", "servingEnvironmentId": "2"}, resources=(resource_of("inference_service"),)
    )
    recorded = new_entry(service, namespace="team", fallback_name="made-up", parent_id=9)
    assert (recorded.state, recorded.parent_id, recorded.members) == ("DEPLOYED", 9, {"registeredModelId": "1"})
    artifact = new_entry(read({}, resources=ARTIFACTS[:1]), namespace="team", fallback_name="made-up", parent_id=9)
    assert (artifact.state, artifact.parent_id) == ("UNKNOWN", 9)


def test_an_update_keeps_what_it_does_not_name() -> None:
    old = entry()
    assert updated_entry(old, read({}, resources=VERSION, form="update")) == old
    body = read({"state": "ARCHIVED", "description": ""}, resources=VERSION, form="update")
    assert updated_entry(old, body) == replace(old, state="ARCHIVED", members={"author": "ada", "description": ""})


def test_an_update_replaces_all_properties() -> None:
    body = read({"customProperties": {"b": TEXT}}, resources=VERSION, form="update")
    assert updated_entry(entry(), body).properties == {"b": Property("string", "x")}
    body = read({"customProperties": {}}, resources=VERSION, form="update")
    assert updated_entry(entry(), body).properties == {}


def test_an_external_id_can_be_taken_away() -> None:
    old = entry(external_id="x")
    assert updated_entry(old, read({"externalId": ""}, resources=VERSION, form="update")).external_id is None
    assert updated_entry(old, read({}, resources=VERSION, form="update")).external_id == "x"
    assert (
        new_entry(read({"name": "a", "externalId": ""}, resources=MODEL), namespace="a", fallback_name="").external_id
        is None
    )


def test_properties_of_gatehouse_come_back_and_are_not_recorded() -> None:
    asked = {"gatehouse.hardware_profile": Property("string", "h100"), "gatehouse.runtime": Property("string", "vLLM")}
    ready = entry(
        governed=Governed(object_name="granite-1.0", phase="Ready to Deploy", hardware_profile="h100"),
        properties={"a": Property("string", "x"), **asked},
    )
    shown = {
        "a": TEXT,
        "b": TEXT,
        "gatehouse.phase": {**TEXT, "string_value": "Ready to Deploy"},
        "gatehouse.hardware_profile": {**TEXT, "string_value": "h100"},
        "gatehouse.runtime": {**TEXT, "string_value": "vLLM"},
        "Ready to Deploy": {**TEXT, "string_value": ""},
    }
    updated = updated_entry(ready, read({"customProperties": shown}, resources=VERSION, form="update"))
    assert updated.properties == {"a": Property("string", "x"), "b": Property("string", "x"), **asked}


@pytest.mark.parametrize("name", ["gatehouse.phase", "Ready to Deploy", "gatehouse.hardware_profile"])
def test_properties_of_gatehouse_do_not_change(name: str) -> None:
    governed = entry(governed=Governed(object_name="granite-1.0", phase="Draft", hardware_profile="h100"))
    body = read({"customProperties": {name: TEXT}}, resources=VERSION, form="update")
    with pytest.raises(RequestError, match="only Gatehouse writes it") as raised:
        updated_entry(governed, body)
    assert raised.value.status == 409


@pytest.mark.parametrize("name", ["gatehouse.phase", "gatehouse.cleared_for", "Ready to Deploy"])
def test_no_recorded_entry_can_look_ready(name: str) -> None:
    with pytest.raises(RequestError, match="only Gatehouse writes it") as raised:
        new_entry(
            read({"name": "a", "customProperties": {name: TEXT}}, resources=MODEL), namespace="a", fallback_name=""
        )
    assert raised.value.status == 400
    with pytest.raises(RequestError, match="only Gatehouse writes it"):
        updated_entry(entry(), read({"customProperties": {name: TEXT}}, resources=VERSION, form="update"))


def test_a_client_may_ask_for_a_hardware_profile() -> None:
    body = read({"name": "a", "customProperties": {"gatehouse.hardware_profile": TEXT}}, resources=MODEL)
    recorded = new_entry(body, namespace="team", fallback_name="")
    assert recorded.properties == {"gatehouse.hardware_profile": Property("string", "x")}
