"""The table of paths and verbs: the one that the clients have, and what a router needs."""

from __future__ import annotations

import inspect
import re

import mr_openapi
import pytest

from gatehouse.server.kubeflow.members import API_VERSIONS, ApiVersion
from gatehouse.server.kubeflow.operations import OPERATIONS, RestOperation, operations_of

SOURCE = inspect.getsource(mr_openapi.ModelRegistryServiceApi)
SERIALIZERS = re.findall(
    r"def _(\w+)_serialize\(.*?method=\"(\w+)\",\s*resource_path=\"([^\"]+)\"", SOURCE, flags=re.DOTALL
)


def snake(name: str) -> str:
    return re.sub("(?<=[a-z])([A-Z])", r"_\1", name).lower()


def test_the_clients_call_exactly_these_operations() -> None:
    assert len(SERIALIZERS) == 40
    assert {(name, verb, path) for name, verb, path in SERIALIZERS} == {
        (snake(operation.id), operation.verb, operation.described_path("v1")) for operation in operations_of("v1")
    }


def test_the_alpha_version_has_sixteen_more() -> None:
    alpha = {operation.id for operation in operations_of("v1alpha3")}
    stable = {operation.id for operation in operations_of("v1")}
    assert stable < alpha
    assert len(alpha - stable) == 16
    assert all("experiment" in name.lower() for name in alpha - stable)


@pytest.mark.parametrize("operation", operations_of("v1"), ids=lambda operation: operation.id)
def test_the_clients_send_these_words_and_bodies(operation: RestOperation) -> None:
    parameters = inspect.signature(getattr(mr_openapi.ModelRegistryServiceApi, snake(operation.id))).parameters
    names = {name for name in parameters if not name.startswith("_") and name != "self"}
    words = {snake(word) for word in operation.words if word != "namespace"}
    path = {operation.path_name("v1")} if "{id}" in operation.path else set()
    bodies = names - words - path
    assert words | path <= names
    assert len(bodies) == (1 if operation.form else 0)


@pytest.mark.parametrize("version", API_VERSIONS)
def test_no_route_hides_another(version: ApiVersion) -> None:
    routes = [(operation.verb, operation.route(version)) for operation in operations_of(version)]
    assert len(set(routes)) == len(routes)
    for index, (verb, route) in enumerate(routes):
        pattern = re.compile(route.replace("{id}", "[^/]+"))
        assert not any(
            pattern.fullmatch(later)
            for later_verb, later in routes[index + 1 :]
            if later_verb == verb and later != route
        )


def test_statuses() -> None:
    by_id = {operation.id: operation for operation in OPERATIONS}
    assert by_id["createInferenceService"].statuses("v1alpha3") == (200,)
    assert by_id["createInferenceService"].statuses("v1") == (201,)
    assert by_id["createEnvironmentInferenceService"].statuses("v1alpha3") == (201,)
    assert by_id["createModelVersion"].statuses("v1alpha3") == (201,)
    assert by_id["upsertModelVersionArtifact"].statuses("v1") == (200, 201)
    assert by_id["updateArtifact"].statuses("v1") == (200,)
    assert by_id["createModelVersion"].refusals == (400, 401, 403, 404, 409, 413, 415, 422, 429, 500, 503)
    assert by_id["updateModelVersion"].refusals == (400, 401, 403, 404, 409, 413, 415, 422, 429, 500, 503)
    assert by_id["getModelVersions"].refusals == (400, 401, 403, 500, 503)
    assert by_id["findModelVersion"].refusals == (400, 401, 403, 404, 500, 503)


def test_summaries_are_sentences() -> None:
    summaries = [operation.summary for operation in OPERATIONS]
    assert len(set(summaries)) == len(summaries)
    assert "Create one Artifact of one ModelVersion, or change the one whose id the body names" in summaries
