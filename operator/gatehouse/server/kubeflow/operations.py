"""The paths and verbs of the contract as one table: routes and the OpenAPI documents follow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from gatehouse.domain.entries.entry import EntryKind
from gatehouse.server.kubeflow.members import ALPHA_ONLY, BOTH, ApiVersion, BodyForm
from gatehouse.server.kubeflow.resources import ARTIFACTS, RestResource, resource_of

__all__ = ["OPERATIONS", "PREFIX", "Action", "RestOperation", "WordName", "operations_of"]

PREFIX: Final = "/api/model_registry"
Action = Literal[
    "list", "create", "upsert", "get", "update", "find", "model_of_service", "version_of_service", "metric_history"
]
"""``upsert`` creates an entry, or changes and attaches the one whose id the body names."""
WordName = Literal[
    "name",
    "externalId",
    "parentResourceId",
    "artifactType",
    "filterQuery",
    "stepIds",
    "pageSize",
    "orderBy",
    "sortOrder",
    "nextPageToken",
    "namespace",
]

_PAGE: Final[tuple[WordName, ...]] = ("filterQuery", "pageSize", "orderBy", "sortOrder", "nextPageToken")
_PATH_NAMES: Final[Mapping[str, Mapping[ApiVersion, str]]] = {
    "registered_models": {"v1alpha3": "registeredmodelId", "v1": "registered_model_id"},
    "model_versions": {"v1alpha3": "modelversionId", "v1": "model_version_id"},
    "model_artifacts": {"v1alpha3": "modelartifactId", "v1": "model_artifact_id"},
    "artifacts": {"v1alpha3": "id", "v1": "id"},
    "serving_environments": {"v1alpha3": "servingenvironmentId", "v1": "serving_environment_id"},
    "inference_services": {"v1alpha3": "inferenceserviceId", "v1": "inference_service_id"},
    "experiments": {"v1alpha3": "experimentId", "v1": "experiment_id"},
    "experiment_runs": {"v1alpha3": "experimentrunId", "v1": "experiment_run_id"},
}
"""What the OpenAPI documents call the id in a path."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RestOperation:
    """One verb of one path. ``path`` begins behind the version and names the id of its entry ``{id}``.

    ``resources`` are the kinds that the operation is about: one, or all kinds of artifacts. ``parent`` is the kind of
    the entry that the id of a nested path names.
    """

    id: str
    verb: Literal["GET", "POST", "PATCH"]
    path: str
    action: Action
    resources: tuple[RestResource, ...]
    parent: EntryKind | None = None
    form: BodyForm | None = None
    words: tuple[WordName, ...] = ()
    versions: frozenset[ApiVersion] = BOTH

    @property
    def summary(self) -> str:
        """One sentence for people."""
        what = self.resources[0].schema if len(self.resources) == 1 else "Artifact"
        of_parent = f" of one {resource_of(self.parent).schema}" if self.parent else ""
        return {
            "list": f"List all {what}s{of_parent}",
            "create": f"Create one {what}{of_parent}",
            "upsert": f"Create one {what}{of_parent}, or change the one whose id the body names",
            "get": f"Read one {what}",
            "update": f"Change one {what}",
            "find": f"Find one {what} by its name or its external id",
            "model_of_service": "Read the RegisteredModel of an InferenceService",
            "version_of_service": "Read the ModelVersion of an InferenceService",
            "metric_history": f"List all values of Metrics{of_parent}",
        }[self.action]

    @property
    def kinds(self) -> tuple[EntryKind, ...]:
        """The kinds of the entries that the operation reads. A history has the kept values of a metric."""
        if self.action == "metric_history":
            return ("metric_record",)
        return tuple(resource.kind for resource in self.resources)

    @property
    def answers_list(self) -> bool:
        """Whether the answer is a page of entries."""
        return self.action in {"list", "metric_history"}

    def route(self, version: ApiVersion) -> str:
        """The path with ``{id}``, for the server."""
        return f"{PREFIX}/{version}{self.path}"

    def described_path(self, version: ApiVersion) -> str:
        """The path with the name that the version's OpenAPI document gives the id."""
        return self.route(version).replace("{id}", f"{{{self.path_name(version)}}}")

    def path_name(self, version: ApiVersion) -> str:
        """What the version's OpenAPI document calls the id."""
        return _PATH_NAMES[self.path.split("/")[1]][version] if "{id}" in self.path else ""

    def statuses(self, version: ApiVersion) -> tuple[int, ...]:
        """The statuses of success."""
        if self.action == "upsert":
            return (200, 201)
        if self.action != "create":
            return (200,)
        return (200,) if version == "v1alpha3" and self.path == "/inference_services" else (201,)

    @property
    def refusals(self) -> tuple[int, ...]:
        """The statuses of refusals."""
        missing = "{id}" in self.path or self.action == "find" or self.form is not None
        body = self.form is not None
        return (
            400,
            401,
            403,
            *((404,) if missing else ()),
            *((409, 413, 415, 422, 429) if body else ()),
            500,
            503,
        )


def _collection(
    *, path: str, single: str, plural: str, resources: tuple[RestResource, ...], find: tuple[WordName, ...]
) -> tuple[RestOperation, ...]:
    """The five operations that every kind with an own path has."""
    versions = resources[0].versions
    typed: tuple[WordName, ...] = ("artifactType",) if len(resources) > 1 else ()
    found = path.removesuffix("s")
    return (
        RestOperation(
            id=f"find{single}",
            verb="GET",
            path=found,
            action="find",
            resources=resources,
            words=find,
            versions=versions,
        ),
        RestOperation(
            id=f"get{plural}",
            verb="GET",
            path=path,
            action="list",
            resources=resources,
            words=(*typed, *_PAGE),
            versions=versions,
        ),
        RestOperation(
            id=f"create{single}",
            verb="POST",
            path=path,
            action="create",
            resources=resources,
            form="create",
            words=("namespace",),
            versions=versions,
        ),
        RestOperation(
            id=f"get{single}", verb="GET", path=f"{path}/{{id}}", action="get", resources=resources, versions=versions
        ),
        RestOperation(
            id=f"update{single}",
            verb="PATCH",
            path=f"{path}/{{id}}",
            action="update",
            resources=resources,
            form="update",
            versions=versions,
        ),
    )


def _nested(
    *,
    path: str,
    listing: str,
    writing: str,
    parent: EntryKind,
    resources: tuple[RestResource, ...],
    form: BodyForm,
    action: Action,
    versions: frozenset[ApiVersion] = BOTH,
) -> tuple[RestOperation, ...]:
    """The list of an entry's children, and how one is added."""
    typed: tuple[WordName, ...] = ("artifactType",) if len(resources) > 1 else ()
    return (
        RestOperation(
            id=listing,
            verb="GET",
            path=path,
            action="list",
            resources=resources,
            parent=parent,
            words=("name", "externalId", *typed, *_PAGE),
            versions=versions,
        ),
        RestOperation(
            id=writing,
            verb="POST",
            path=path,
            action=action,
            resources=resources,
            parent=parent,
            form=form,
            versions=versions,
        ),
    )


def _of_service(*, id: str, path: str, action: Action, kind: EntryKind) -> RestOperation:  # noqa: A002
    return RestOperation(
        id=id, verb="GET", path=path, action=action, resources=(resource_of(kind),), parent="inference_service"
    )


def _history(*, id: str, path: str, parent: EntryKind | None) -> RestOperation:  # noqa: A002
    return RestOperation(
        id=id,
        verb="GET",
        path=path,
        action="metric_history",
        resources=(resource_of("metric"),),
        parent=parent,
        words=("name", "stepIds", *_PAGE),
        versions=ALPHA_ONLY,
    )


_BY_NAME: Final[tuple[WordName, ...]] = ("name", "externalId")
_IN_PARENT: Final[tuple[WordName, ...]] = ("name", "externalId", "parentResourceId")

OPERATIONS: Final[tuple[RestOperation, ...]] = (
    *_collection(
        path="/registered_models",
        single="RegisteredModel",
        plural="RegisteredModels",
        resources=(resource_of("registered_model"),),
        find=_BY_NAME,
    ),
    *_nested(
        path="/registered_models/{id}/versions",
        listing="getRegisteredModelVersions",
        writing="createRegisteredModelVersion",
        parent="registered_model",
        resources=(resource_of("model_version"),),
        form="upsert",
        action="create",
    ),
    *_collection(
        path="/model_versions",
        single="ModelVersion",
        plural="ModelVersions",
        resources=(resource_of("model_version"),),
        find=_IN_PARENT,
    ),
    *_nested(
        path="/model_versions/{id}/artifacts",
        listing="getModelVersionArtifacts",
        writing="upsertModelVersionArtifact",
        parent="model_version",
        resources=ARTIFACTS,
        form="upsert",
        action="upsert",
    ),
    *_collection(
        path="/model_artifacts",
        single="ModelArtifact",
        plural="ModelArtifacts",
        resources=(resource_of("model_artifact"),),
        find=_IN_PARENT,
    ),
    *_collection(path="/artifacts", single="Artifact", plural="Artifacts", resources=ARTIFACTS, find=_IN_PARENT),
    *_collection(
        path="/serving_environments",
        single="ServingEnvironment",
        plural="ServingEnvironments",
        resources=(resource_of("serving_environment"),),
        find=_BY_NAME,
    ),
    *_nested(
        path="/serving_environments/{id}/inference_services",
        listing="getEnvironmentInferenceServices",
        writing="createEnvironmentInferenceService",
        parent="serving_environment",
        resources=(resource_of("inference_service"),),
        form="create",
        action="create",
    ),
    *_collection(
        path="/inference_services",
        single="InferenceService",
        plural="InferenceServices",
        resources=(resource_of("inference_service"),),
        find=_IN_PARENT,
    ),
    _of_service(
        id="getInferenceServiceModel",
        path="/inference_services/{id}/model",
        action="model_of_service",
        kind="registered_model",
    ),
    _of_service(
        id="getInferenceServiceVersion",
        path="/inference_services/{id}/version",
        action="version_of_service",
        kind="model_version",
    ),
    *_nested(
        path="/inference_services/{id}/serves",
        listing="getInferenceServiceServes",
        writing="createInferenceServiceServe",
        parent="inference_service",
        resources=(resource_of("serve_model"),),
        form="create",
        action="create",
    ),
    *_collection(
        path="/experiments",
        single="Experiment",
        plural="Experiments",
        resources=(resource_of("experiment"),),
        find=_BY_NAME,
    ),
    *_nested(
        path="/experiments/{id}/experiment_runs",
        listing="getExperimentExperimentRuns",
        writing="createExperimentExperimentRun",
        parent="experiment",
        resources=(resource_of("experiment_run"),),
        form="upsert",
        action="create",
        versions=ALPHA_ONLY,
    ),
    # Before the path with an id, which would match too.
    _history(id="getExperimentRunsMetricHistory", path="/experiment_runs/metric_history", parent=None),
    *_collection(
        path="/experiment_runs",
        single="ExperimentRun",
        plural="ExperimentRuns",
        resources=(resource_of("experiment_run"),),
        find=_IN_PARENT,
    ),
    *_nested(
        path="/experiment_runs/{id}/artifacts",
        listing="getExperimentRunArtifacts",
        writing="upsertExperimentRunArtifact",
        parent="experiment_run",
        resources=ARTIFACTS,
        form="upsert",
        action="upsert",
        versions=ALPHA_ONLY,
    ),
    _history(id="getExperimentRunMetricHistory", path="/experiment_runs/{id}/metric_history", parent="experiment_run"),
)


def operations_of(version: ApiVersion) -> tuple[RestOperation, ...]:
    """The operations of a version, in the order in which a router tries them."""
    return tuple(operation for operation in OPERATIONS if version in operation.versions)
