"""The entries of the contract, each declared once: parsing, answers, filters and the OpenAPI documents follow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from gatehouse.domain.entries.entry import LONGEST_NAME, EntryKind
from gatehouse.server.kubeflow.members import ALPHA_ONLY, BOTH, ApiVersion, BodyForm, Member

__all__ = [
    "ARTIFACTS",
    "LONGEST_EXTERNAL_ID",
    "LONGEST_URI",
    "RESOURCES",
    "RestResource",
    "artifact_of_type",
    "filter_members",
    "resource_of",
]

LONGEST_EXTERNAL_ID: Final = 255
"""Characters, as the column has; a database can index as many."""
LONGEST_URI: Final = 2_048

_CREATED: Final = frozenset[BodyForm]({"create", "upsert"})
_WHOLE: Final = frozenset[BodyForm]({"upsert"})
_ANSWERED: Final = frozenset[BodyForm]()
_LIVES: Final = ("LIVE", "ARCHIVED")
_ARTIFACT_STATES: Final = (
    "UNKNOWN",
    "PENDING",
    "LIVE",
    "MARKED_FOR_DELETION",
    "DELETED",
    "ABANDONED",
    "REFERENCE",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RestResource:
    """One kind of entry. ``schema`` names it in OpenAPI, ``words`` in messages.

    ``parent`` is what ``parentResourceId`` of a search names. ``artifact_type`` distinguishes the kinds of artifacts.
    """

    kind: EntryKind
    schema: str
    words: str
    about: str
    members: tuple[Member, ...]
    parent: EntryKind | None = None
    artifact_type: str = ""
    versions: frozenset[ApiVersion] = BOTH

    def of_version(self, version: ApiVersion) -> tuple[Member, ...]:
        """The members that a version of the contract has."""
        return tuple(member for member in self.members if version in member.versions)

    def of_body(self, form: BodyForm, *, version: ApiVersion) -> Mapping[str, Member]:
        """The members that a body may have, by name."""
        return {member.name: member for member in self.of_version(version) if form in member.forms}


def _base(*, name: str, name_required: bool, name_for: frozenset[BodyForm] = _CREATED) -> tuple[Member, ...]:
    return (
        Member(
            name="id",
            type="id",
            target="id",
            forms=_WHOLE,
            about="The number that the registry gave the entry.",
            filterable=True,
        ),
        Member(
            name="name",
            target="name",
            forms=name_for,
            required=name_required,
            shortest=1,
            longest=LONGEST_NAME,
            about=name,
            filterable=True,
        ),
        Member(
            name="externalId",
            target="external_id",
            longest=LONGEST_EXTERNAL_ID,
            about="The id of the entry in the client's own system; no two entries of a kind have the same one.",
            filterable=True,
        ),
        Member(name="description", about="What people should know about the entry."),
        Member(
            name="customProperties",
            type="properties",
            target="properties",
            about="Typed values under names that the client chooses. An update replaces all of them.",
        ),
        Member(
            name="createTimeSinceEpoch",
            type="time",
            target="created_at",
            forms=_WHOLE,
            about="When the entry was created: milliseconds since 1970. The registry sets this member.",
            filterable=True,
        ),
        Member(
            name="lastUpdateTimeSinceEpoch",
            type="time",
            target="updated_at",
            forms=_WHOLE,
            about="When the entry last changed: milliseconds since 1970. The registry sets this member.",
            filterable=True,
        ),
    )


def _state(name: str, values: tuple[str, ...], default: str, about: str, *, filterable: bool = True) -> Member:
    return Member(
        name=name,
        type="enum",
        target="state",
        values=values,
        default=default,
        about=about,
        filterable=filterable,
    )


def _texts(**abouts: str) -> tuple[Member, ...]:
    return tuple(Member(name=name, about=about, filterable=True) for name, about in abouts.items())


_MODEL: Final = RestResource(
    kind="registered_model",
    schema="RegisteredModel",
    words="registered model",
    about="A model family; its versions are ModelVersions.",
    members=(
        *_base(name="The name of the model, unique in the registry. It never changes.", name_required=True),
        Member(name="readme", about="Documentation of the model in Markdown."),
        Member(name="maturity", about="How mature the model is, as in Generally Available."),
        Member(name="language", type="texts", about="Languages that the model supports, as in en."),
        Member(name="tasks", type="texts", about="Tasks that the model is made for, as in text-generation."),
        Member(name="provider", about="Who provides the model."),
        Member(name="logo", about="The address of a logo, or a data URL."),
        Member(name="license", about="The short name of the licence, as in apache-2.0."),
        Member(name="licenseLink", about="The address of the licence's text."),
        Member(name="libraryName", about="The library that loads the model, as in transformers."),
        Member(name="owner", about="Who answers for the model.", filterable=True),
        _state("state", _LIVES, "LIVE", "Whether the model is in use or archived."),
    ),
)

_VERSION: Final = RestResource(
    kind="model_version",
    schema="ModelVersion",
    words="model version",
    about="A version of a RegisteredModel; its files are ModelArtifacts.",
    parent="registered_model",
    members=(
        *_base(name="The name of the version, unique in its model. It never changes.", name_required=True),
        Member(
            name="registeredModelId",
            type="id",
            target="parent_id",
            forms=_CREATED,
            required=True,
            about="The id of the RegisteredModel.",
            filterable=True,
        ),
        Member(name="author", about="Who made the version.", filterable=True),
        _state("state", _LIVES, "LIVE", "Whether the version is in use or archived."),
    ),
)


def _artifact(
    *,
    kind: EntryKind,
    schema: str,
    words: str,
    about: str,
    artifact_type: str,
    members: tuple[Member, ...],
) -> RestResource:
    return RestResource(
        kind=kind,
        schema=schema,
        words=words,
        about=about,
        parent="model_version",
        artifact_type=artifact_type,
        members=(
            *_base(
                name="The name of the artifact, unique in its version. Without one, the registry makes a UUID.",
                name_required=False,
            ),
            Member(
                name="artifactType",
                type="artifact_type",
                target="kind",
                values=(artifact_type,),
                default=artifact_type,
                about="The kind of the artifact. It never changes.",
            ),
            *members,
            _state("state", _ARTIFACT_STATES, "UNKNOWN", "What the client knows about the artifact."),
            *(
                Member(
                    name=name,
                    type="id",
                    forms=_WHOLE,
                    versions=ALPHA_ONLY,
                    about=f"The id of the {owner} that made the artifact. The registry sets this member.",
                    filterable=True,
                )
                for name, owner in (("experimentId", "Experiment"), ("experimentRunId", "ExperimentRun"))
            ),
        ),
    )


_URI: Final = Member(
    name="uri",
    longest=LONGEST_URI,
    about="Where the files are. A store with an endpoint has it in the query: ?endpoint=https://host&defaultRegion=region.",
    filterable=True,
)

ARTIFACTS: Final[tuple[RestResource, ...]] = (
    _artifact(
        kind="model_artifact",
        schema="ModelArtifact",
        words="model artifact",
        about="The files of a model version.",
        artifact_type="model-artifact",
        members=(
            _URI,
            *_texts(
                modelFormatName="The name of the format of the files.",
                modelFormatVersion="The version of the format.",
                storageKey="The name of the connection with which model servers read the files.",
                storagePath="The path of the files in the store that storageKey names.",
                serviceAccountName="The service account that has the connection.",
                modelSourceKind="What kind of system made the files, as in pipelines.",
                modelSourceClass="What part of that system made the files, as in pipelinerun.",
                modelSourceGroup="Where that system made the files, as in a namespace.",
                modelSourceId="The id of the run that made the files.",
                modelSourceName="A name of the source for people.",
            ),
        ),
    ),
    _artifact(
        kind="doc_artifact",
        schema="DocArtifact",
        words="doc artifact",
        about="A document about a version.",
        artifact_type="doc-artifact",
        members=(_URI,),
    ),
    _artifact(
        kind="dataset_artifact",
        schema="DataSet",
        words="dataset artifact",
        about="Data that a version was trained or tested with.",
        artifact_type="dataset-artifact",
        members=(
            _URI,
            *_texts(
                digest="A hash of the data.",
                sourceType="What kind of system has the data, as in s3.",
                source="Where that system has the data.",
                schema="A description of the data's structure.",
                profile="A summary of the data.",
            ),
        ),
    ),
    _artifact(
        kind="metric",
        schema="Metric",
        words="metric artifact",
        about="A number that was measured for a version.",
        artifact_type="metric",
        members=(
            Member(name="value", type="number", required=True, about="The measured number.", filterable=True),
            Member(
                name="timestamp",
                type="int64",
                about="When the number was measured: milliseconds since 1970.",
                filterable=True,
            ),
            Member(name="step", type="step", about="The step of the training.", filterable=True),
        ),
    ),
    _artifact(
        kind="parameter",
        schema="Parameter",
        words="parameter artifact",
        about="A value that a version was made with.",
        artifact_type="parameter",
        members=(
            Member(name="value", about="The value as a text.", filterable=True),
            Member(
                name="parameterType",
                type="enum",
                values=("string", "number", "boolean", "object"),
                about="What the text stands for.",
                filterable=True,
            ),
        ),
    ),
)

_ENVIRONMENT: Final = RestResource(
    kind="serving_environment",
    schema="ServingEnvironment",
    words="serving environment",
    about="Where models run, as a namespace of a cluster.",
    members=_base(name="The name of the environment. It never changes.", name_required=True),
)

_SERVICE: Final = RestResource(
    kind="inference_service",
    schema="InferenceService",
    words="inference service",
    about="A model version that runs in a ServingEnvironment.",
    parent="serving_environment",
    members=(
        *_base(name="The name of the service. It never changes.", name_required=False),
        Member(
            name="registeredModelId",
            type="id",
            forms=_CREATED,
            required=True,
            about="The id of the RegisteredModel that runs.",
            filterable=True,
        ),
        Member(
            name="servingEnvironmentId",
            type="id",
            target="parent_id",
            forms=_CREATED,
            required=True,
            about="The id of the ServingEnvironment.",
            filterable=True,
        ),
        Member(
            name="modelVersionId",
            type="id",
            about="The id of the ModelVersion that runs; without one, the newest version of the model.",
            filterable=True,
        ),
        Member(name="runtime", about="The model server.", filterable=True),
        _state("desiredState", ("DEPLOYED", "UNDEPLOYED"), "DEPLOYED", "Whether the service shall run."),
    ),
)

_SERVE: Final = RestResource(
    kind="serve_model",
    schema="ServeModel",
    words="serve model",
    about="One action of an InferenceService that serves a ModelVersion.",
    parent="inference_service",
    members=(
        *_base(name="The name of the action. It never changes.", name_required=False),
        Member(
            name="modelVersionId",
            type="id",
            forms=_CREATED,
            required=True,
            about="The id of the ModelVersion.",
            filterable=True,
        ),
        _state(
            "lastKnownState",
            ("UNKNOWN", "NEW", "RUNNING", "COMPLETE", "FAILED", "CACHED", "CANCELED"),
            "UNKNOWN",
            "The state that the client last saw.",
        ),
    ),
)

_EXPERIMENT: Final = RestResource(
    kind="experiment",
    schema="Experiment",
    words="experiment",
    about="A group of ExperimentRuns.",
    versions=ALPHA_ONLY,
    members=(
        *_base(name="The name of the experiment. It never changes.", name_required=True),
        Member(name="owner", about="Who answers for the experiment.", filterable=True),
        _state("state", _LIVES, "LIVE", "Whether the experiment is in use or archived."),
    ),
)

_RUN: Final = RestResource(
    kind="experiment_run",
    schema="ExperimentRun",
    words="experiment run",
    about="One run of an Experiment.",
    parent="experiment",
    versions=ALPHA_ONLY,
    members=(
        *_base(name="The name of the run. It never changes.", name_required=False),
        Member(
            name="experimentId",
            type="id",
            target="parent_id",
            forms=_CREATED,
            required=True,
            about="The id of the Experiment.",
            filterable=True,
        ),
        Member(
            name="startTimeSinceEpoch",
            type="int64",
            forms=_CREATED,
            about="When the run began: milliseconds since 1970.",
            filterable=True,
        ),
        Member(
            name="endTimeSinceEpoch",
            type="int64",
            about="When the run ended: milliseconds since 1970.",
            filterable=True,
        ),
        Member(
            name="status",
            type="enum",
            values=("RUNNING", "SCHEDULED", "FINISHED", "FAILED", "KILLED"),
            default="RUNNING",
            about="How far the run is.",
            filterable=True,
        ),
        _state("state", _LIVES, "LIVE", "Whether the run is in use or archived."),
        Member(name="owner", about="Who answers for the run.", filterable=True),
    ),
)

RESOURCES: Final[tuple[RestResource, ...]] = (
    _MODEL,
    _VERSION,
    *ARTIFACTS,
    _ENVIRONMENT,
    _SERVICE,
    _SERVE,
    _EXPERIMENT,
    _RUN,
)
_BY_KIND: Final[Mapping[EntryKind, RestResource]] = {resource.kind: resource for resource in RESOURCES}
_BY_ARTIFACT_TYPE: Final = {resource.artifact_type: resource for resource in ARTIFACTS}


def resource_of(kind: EntryKind) -> RestResource:
    """The declaration of a kind. A record of a metric has that of the metric."""
    return _BY_KIND["metric" if kind == "metric_record" else kind]


def artifact_of_type(artifact_type: str) -> RestResource | None:
    """The kind of artifacts with this ``artifactType``."""
    return _BY_ARTIFACT_TYPE.get(artifact_type)


def filter_members(kind: EntryKind) -> Mapping[str, Member]:
    """The names that a filter may use for members of the kind; ``target`` says which field of an Entry has the value.

    Any other name is that of a custom property. Upstream has the same names.
    """
    return {member.name: member for member in resource_of(kind).members if member.filterable}
