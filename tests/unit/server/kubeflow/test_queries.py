"""The words of queries and the ids of paths."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatehouse.domain.entries.entry import ARTIFACT_KINDS
from gatehouse.domain.query.filters import Comparison
from gatehouse.domain.query.page_tokens import write_token
from gatehouse.domain.query.pages import Order, Page, Position
from gatehouse.server.errors import RequestError
from gatehouse.server.kubeflow.errors import already_exists, invalid_find, not_found, required_missing
from gatehouse.server.kubeflow.operations import OPERATIONS, RestOperation
from gatehouse.server.kubeflow.queries import EntrySearch, read_id, read_list, read_namespace, read_search
from gatehouse.server.kubeflow.resources import RESOURCES, filter_members, resource_of

PATH = "/api/model_registry/v1/model_versions"


def operation(name: str) -> RestOperation:
    return next(operation for operation in OPERATIONS if operation.id == name)


def refusal(words: dict[str, str], name: str, **arguments: Any) -> RequestError:
    with pytest.raises(RequestError) as raised:
        read_list(words, operation=operation(name), **{"version": "v1", "path": PATH, **arguments})
    return raised.value


def test_a_list_of_all() -> None:
    read = read_list({}, operation=operation("getModelVersions"), version="v1", path=PATH)
    assert (read.page, read.filter, read.kinds) == (Page(), None, ("model_version",))
    assert read_list({"unknown": "x"}, operation=operation("getModelVersions"), version="v1", path=PATH) == read


def test_the_pages_of_a_list() -> None:
    words = {"filterQuery": "name = 'a'", "pageSize": "10", "sortOrder": "DESC"}
    first = read_list(words, operation=operation("getModelVersions"), version="v1", path=PATH)
    assert first.filter == Comparison(("name",), "=", ("a",))
    token = write_token(Position(None, 5), identity=first.identity)
    second = read_list(
        {**words, "nextPageToken": token}, operation=operation("getModelVersions"), version="v1", path=PATH
    )
    assert second.page == Page(order=Order(descending=True), after=Position(None, 5), size=10)
    assert second.identity == first.identity
    again = read_list({**words, "nextPageToken": ""}, operation=operation("getModelVersions"), version="v1", path=PATH)
    assert again == first
    error = refusal({**words, "filterQuery": "", "nextPageToken": token}, "getModelVersions")
    assert (error.status, "another list" in error.message) == (400, True)


def test_words_that_narrow_a_list() -> None:
    words = {"name": "a", "externalId": "b", "artifactType": "metric"}
    read = read_list(words, operation=operation("getModelVersionArtifacts"), version="v1", path=PATH)
    assert (read.name, read.external_id, read.kinds) == ("a", "b", ("metric",))
    every = read_list({}, operation=operation("getModelVersionArtifacts"), version="v1", path=PATH)
    assert (every.name, every.external_id, every.kinds) == (None, None, ARTIFACT_KINDS)
    assert every.identity != read.identity
    # A list without these words does not have them.
    plain = read_list(words, operation=operation("getModelVersions"), version="v1", path=PATH)
    assert (plain.name, plain.kinds) == (None, ("model_version",))


def test_steps_of_metrics() -> None:
    for text, steps in (("1,2,3", (1, 2, 3)), (" 1 ,, 2", (1, 2)), ("", ())):
        read = read_list(
            {"stepIds": text}, operation=operation("getExperimentRunMetricHistory"), version="v1alpha3", path=PATH
        )
        assert read.steps == steps
    for text in ("a", "-1", "1.5", "9999999999", ",".join(["1"] * 1_001)):
        assert refusal({"stepIds": text}, "getExperimentRunMetricHistory", version="v1alpha3").status == 400


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"pageSize": "ten"}, "pageSize is 'ten'"),
        ({"orderBy": "NAME"}, "orderBy is 'NAME'"),
        ({"sortOrder": "up"}, "sortOrder is 'up'"),
        ({"nextPageToken": "x" * 1_025}, "invalid nextPageToken: found 1025 characters"),
        ({"filterQuery": "name = "}, "filterQuery, character 8: found the end"),
        ({"artifactType": "x"}, "artifactType is 'x'; expected one of model-artifact"),
        ({"name": "a\0b"}, "Invalid 'name' query parameter: contains null bytes"),
        ({"x\0": "\0"}, "contains null bytes"),
    ],
)
def test_refuses_words(words: dict[str, str], message: str) -> None:
    error = refusal(words, "getArtifacts")
    assert error.status == 400
    assert message in error.message


def test_the_alpha_version_ignores_unknown_orders() -> None:
    words = {"orderBy": "NAME", "sortOrder": "up"}
    read = read_list(words, operation=operation("getModelVersions"), version="v1alpha3", path=PATH)
    assert read.page == Page()


@given(
    st.dictionaries(st.sampled_from(["filterQuery", "pageSize", "orderBy", "nextPageToken", "artifactType"]), st.text())
)
def test_no_words_raise_anything_but_a_refusal(words: dict[str, str]) -> None:
    try:
        read_list(words, operation=operation("getArtifacts"), version="v1", path=PATH)
    except RequestError as error:
        status = error.status
    else:
        status = 400
    assert status == 400


@pytest.mark.parametrize(
    ("words", "search"),
    [
        ({"name": "a", "parentResourceId": "7"}, EntrySearch(name="a", parent_id=7)),
        ({"name": "a", "parentResourceId": "7", "externalId": "x"}, EntrySearch(name="a", parent_id=7)),
        ({"name": "a", "externalId": "x"}, EntrySearch(external_id="x")),
        ({"name": "", "externalId": "x"}, EntrySearch(external_id="x")),
        ({"name": "a", "parentResourceId": "99999999999"}, EntrySearch(name="a", parent_id=0)),
    ],
)
def test_a_search_in_a_parent(words: dict[str, str], search: EntrySearch) -> None:
    assert read_search(words, operation=operation("findModelVersion")) == search


def test_a_search_in_the_registry() -> None:
    find = operation("findRegisteredModel")
    assert read_search({"name": "a"}, operation=find) == EntrySearch(name="a")
    assert read_search({"externalId": "x", "parentResourceId": "7"}, operation=find) == EntrySearch(external_id="x")
    with pytest.raises(RequestError, match="invalid parameters call, supply either name, or externalId") as raised:
        read_search({}, operation=find)
    assert raised.value.status == 400


@pytest.mark.parametrize("words", [{}, {"name": "a"}, {"parentResourceId": "7"}, {"name": "", "externalId": ""}])
def test_a_search_needs_words_that_identify_one_entry(words: dict[str, str]) -> None:
    with pytest.raises(RequestError, match=r"supply either \(name and parentResourceId\), or externalId") as raised:
        read_search(words, operation=operation("findModelVersion"))
    assert raised.value.status == 400


def test_ids() -> None:
    assert read_id("1", what="model version") == 1
    assert read_id("999999999", what="model version") == 999_999_999
    for none in ("0", "-1", "2147483648", "01", "99999999999999999999"):
        assert read_id(none, what="model version") is None
    for odd in ("", "a", "1.0", "1 ", "٣", "1" * 30, "1\n"):
        with pytest.raises(RequestError, match="invalid model version ID: found ") as raised:
            read_id(odd, what="model version")
        assert raised.value.status == 400


def test_namespaces() -> None:
    assert read_namespace("") is None
    assert read_namespace("team-a") == "team-a"
    for odd in ("Team", "-a", "a-", "a.b", "a" * 64, "a\n"):
        with pytest.raises(RequestError, match="expected the name of a Kubernetes namespace"):
            read_namespace(odd)


def test_the_texts_of_refusals() -> None:
    assert str(not_found("model version", "id 7")) == "no model version found for id 7: not found"
    assert str(already_exists("registered model", "a")).startswith("registered model with name a already")
    assert [error.status for error in (not_found("x", "y"), already_exists("x", "y"), invalid_find("name"))] == [
        404,
        409,
        400,
    ]
    missing = required_missing("name")
    assert (missing.status, missing.code, missing.message) == (
        422,
        "Bad Request",
        "required field 'name' is zero value.",
    )


def test_filters_name_the_members_that_upstream_has() -> None:
    common = {"id", "name", "externalId", "createTimeSinceEpoch", "lastUpdateTimeSinceEpoch"}
    artifact = common | {"state", "experimentId", "experimentRunId"}
    assert {resource.kind: set(filter_members(resource.kind)) for resource in RESOURCES} == {
        "registered_model": common | {"state", "owner"},
        "model_version": common | {"registeredModelId", "state", "author"},
        "model_artifact": artifact
        | {"uri", "modelFormatName", "modelFormatVersion", "storageKey", "storagePath", "serviceAccountName"}
        | {f"modelSource{part}" for part in ("Kind", "Class", "Group", "Id", "Name")},
        "doc_artifact": artifact | {"uri"},
        "dataset_artifact": artifact | {"uri", "digest", "sourceType", "source", "schema", "profile"},
        "metric": artifact | {"value", "timestamp", "step"},
        "parameter": artifact | {"value", "parameterType"},
        "serving_environment": common,
        "inference_service": common
        | {"registeredModelId", "modelVersionId", "servingEnvironmentId", "runtime", "desiredState"},
        "serve_model": common | {"lastKnownState", "modelVersionId"},
        "experiment": common | {"state", "owner"},
        "experiment_run": common
        | {"experimentId", "startTimeSinceEpoch", "endTimeSinceEpoch", "status", "state", "owner"},
    }
    assert filter_members("metric_record") == filter_members("metric")
    assert resource_of("metric_record") is resource_of("metric")
