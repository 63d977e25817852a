"""The OpenAPI documents: valid, and true to the declarations that they are rendered from."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator
from schemathesis import GenerationMode, openapi

from gatehouse.server.errors import RequestError
from gatehouse.server.kubeflow.bodies import new_entry, read_body
from gatehouse.server.kubeflow.errors import CODES
from gatehouse.server.kubeflow.members import API_VERSIONS, ApiVersion
from gatehouse.server.kubeflow.openapi import openapi_document
from gatehouse.server.kubeflow.operations import RestOperation, operations_of
from gatehouse.server.kubeflow.queries import read_list, read_namespace

DOCUMENTS: dict[ApiVersion, Any] = {version: openapi_document(version) for version in API_VERSIONS}
DESCRIBED: dict[ApiVersion, Any] = {version: openapi.from_dict(document) for version, document in DOCUMENTS.items()}
BODIES = [
    (version, operation)
    for version in API_VERSIONS
    for operation in operations_of(version)
    if operation.form is not None
]
LISTS = [
    (version, operation) for version in API_VERSIONS for operation in operations_of(version) if operation.answers_list
]
FEW = settings(max_examples=15, suppress_health_check=list(HealthCheck), deadline=None)


def described(version: ApiVersion, operation: RestOperation) -> st.SearchStrategy[Any]:
    """Requests that the description permits."""
    found = DESCRIBED[version][operation.described_path(version)][operation.verb]
    strategy: st.SearchStrategy[Any] = found.as_strategy(generation_mode=GenerationMode.POSITIVE)
    return strategy


def schema_of(version: ApiVersion, operation: RestOperation) -> dict[str, Any]:
    document = DOCUMENTS[version]
    described = document["paths"][operation.described_path(version)][operation.verb.lower()]
    schema = described["requestBody"]["content"]["application/json"]["schema"]
    return {**schema, "components": document["components"]}


@pytest.mark.parametrize("version", API_VERSIONS)
def test_the_documents_are_valid(version: ApiVersion) -> None:
    OpenAPIV31SpecValidator(DOCUMENTS[version]).validate()
    assert json.loads(json.dumps(DOCUMENTS[version], allow_nan=False)) == DOCUMENTS[version]


@pytest.mark.parametrize("version", API_VERSIONS)
def test_every_schema_is_used_and_every_reference_leads_to_one(version: ApiVersion) -> None:
    text = json.dumps(DOCUMENTS[version])
    schemas = set(DOCUMENTS[version]["components"]["schemas"])
    used = {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}
    assert used == schemas


def test_the_stable_version_has_no_experiments() -> None:
    assert "xperiment" not in json.dumps(DOCUMENTS["v1"])
    assert "ExperimentRunList" in DOCUMENTS["v1alpha3"]["components"]["schemas"]


@pytest.mark.parametrize("version", API_VERSIONS)
def test_every_refusal_has_the_one_form(version: ApiVersion) -> None:
    schema = Draft202012Validator(DOCUMENTS[version]["components"]["schemas"]["Error"])
    for operation in operations_of(version):
        described = DOCUMENTS[version]["paths"][operation.described_path(version)][operation.verb.lower()]
        assert set(described["responses"]) == {
            str(status) for status in (*operation.statuses(version), *operation.refusals)
        }
    for status in (400, 401, 403, 404, 405, 409, 413, 422, 500, 503):
        schema.validate({"code": CODES[status], "message": "x"})


@pytest.mark.parametrize(
    ("version", "operation"), BODIES, ids=[f"{version}-{operation.id}" for version, operation in BODIES]
)
def test_every_described_body_is_read(version: ApiVersion, operation: RestOperation) -> None:
    @FEW
    @given(described(version, operation))
    def check(case: Any) -> None:
        assert operation.form is not None
        data = json.dumps(case.body).encode()
        read = read_body(data, form=operation.form, resources=operation.resources, version=version)
        assert read.resource in operation.resources
        assert read_namespace(case.query.get("namespace", "")) in {None, case.query.get("namespace")}

    check()


@pytest.mark.parametrize(
    ("version", "operation"), LISTS, ids=[f"{version}-{operation.id}" for version, operation in LISTS]
)
def test_every_described_list_is_read(version: ApiVersion, operation: RestOperation) -> None:
    """The two words with a grammar of their own have tests of their own."""

    @FEW
    @given(described(version, operation))
    def check(case: Any) -> None:
        words = {name: word for name, word in case.query.items() if name not in {"filterQuery", "nextPageToken"}}
        read = read_list(words, operation=operation, version=version, path="/x")
        assert read.page.size == (int(words["pageSize"]) if words.get("pageSize") else None)
        assert set(read.kinds) <= set(operation.kinds)

    check()


@pytest.mark.parametrize(
    ("version", "operation"), BODIES, ids=[f"{version}-{operation.id}" for version, operation in BODIES]
)
@FEW
@given(name=st.text(min_size=1, max_size=8), value=st.one_of(st.none(), st.booleans(), st.integers(), st.text()))
def test_every_body_that_is_read_is_described(
    version: ApiVersion, operation: RestOperation, name: str, value: object
) -> None:
    """One member is changed or added: the description and the reader agree whether that is valid."""
    assert operation.form is not None
    whole: dict[str, object] = {
        "name": "a",
        "registeredModelId": "1",
        "servingEnvironmentId": "1",
        "modelVersionId": "1",
        "experimentId": "1",
        "artifactType": "doc-artifact",
    }
    known = {member for resource in operation.resources for member in resource.of_body(operation.form, version=version)}
    base = {member: content for member, content in whole.items() if member in known}
    if len(operation.resources) == 1 and operation.resources[0].artifact_type:
        base["artifactType"] = operation.resources[0].artifact_type
    schema = Draft202012Validator(schema_of(version, operation))
    for member in (name, *sorted(known)):
        body = {**base, member: value}
        described = schema.is_valid(body)
        try:
            data = json.dumps(body).encode()
            read = read_body(data, form=operation.form, resources=operation.resources, version=version)
            new_entry(read, namespace="team", fallback_name="a")
        except RequestError:
            assert not described, member
        else:
            assert described, member
