"""The way of a version into a stage: which gates stand before it, and in which namespace it is served."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from gatehouse.actions.errors import Refused
from gatehouse.actions.objects import namespace_labels
from gatehouse.api.model_version import Gate, ModelVersion
from gatehouse.cluster.client import ApiClient, ApiError
from gatehouse.domain.serving.template import LABEL_STAGE, ServingTemplate

__all__ = ["apply_template", "gates_before", "owed_before", "target_namespace"]

MANAGER: Final = "gatehouse-promote"
_PLURALS: Final[Mapping[str, str]] = {"ServingRuntime": "servingruntimes", "InferenceService": "inferenceservices"}
_MOST_NAMED: Final = 10


def gates_before(version: ModelVersion, stage: str, stages: Sequence[str]) -> tuple[Gate, ...]:
    """Every gate on the way to a stage: those of the version, of each earlier stage and of the stage.

    Raises Refused for a stage that the registry has not.
    """
    if stage not in stages:
        raise Refused(f"stage is {stage}; wanted: a stage of the registry: {', '.join(stages) or 'it has none yet'}")
    passed = {"", *stages[: stages.index(stage) + 1]}
    return tuple(gate for gate in version.status.gates if gate.stage in passed)


def owed_before(gates: Iterable[Gate]) -> tuple[str, ...]:
    """What is owed, a line a shut gate; of those that wait for another only when there is no other."""
    shut = [gate for gate in gates if gate.shut]
    named = [gate for gate in shut if not gate.waiting] or shut
    return tuple(f"{gate.name}{f' for {gate.stage}' if gate.stage else ''}: {gate.found}" for gate in named)


async def target_namespace(api: ApiClient, stage: str, given: str | None) -> tuple[str, str | None]:
    """The namespace to serve a stage from, and a note about it.

    The one given, or the only one that is labelled for the stage. Raises Refused when the namespace is labelled for
    another stage, when none is named and there is not exactly one, and ClusterError.
    """
    if given is not None:
        return given, _note(given, stage, await namespace_labels(api, given))
    try:
        found = await api.get("namespaces", params={"labelSelector": f"{LABEL_STAGE}={stage}"})
    except ApiError as error:
        if error.status != 403:
            raise
        raise Refused(f"you may not list namespaces; name the one that serves {stage} with --namespace") from error
    names = sorted(body["metadata"]["name"] for body in found["items"])
    if len(names) == 1:
        return names[0], None
    there = f"namespaces {', '.join(names[:_MOST_NAMED])} are" if names else "no namespace is"
    raise Refused(f"{there} labelled {LABEL_STAGE}={stage}; name one with --namespace")


def _note(namespace: str, stage: str, labels: Mapping[str, str] | None) -> str | None:
    if labels is None:
        return f"whether namespace {namespace} is there and labelled {LABEL_STAGE}={stage} is not known"
    labelled = labels.get(LABEL_STAGE)
    if labelled is not None and labelled != stage:
        raise Refused(
            f"namespace {namespace} is labelled {LABEL_STAGE}={labelled}; wanted: one of stage {stage}. "
            f"kubectl get namespaces -l {LABEL_STAGE}={stage}"
        )
    if labelled is None:
        return f"namespace {namespace} has no label {LABEL_STAGE}: no gate stands before it"
    return None


async def apply_template(api: ApiClient, template: ServingTemplate) -> Sequence[Mapping[str, Any]]:
    """Applies the runtime, then the service, without force. Raises Refused on a conflict, and ClusterError."""
    return [await _apply(api, body) for body in (template.serving_runtime, template.inference_service)]


async def _apply(api: ApiClient, body: Mapping[str, Any]) -> Mapping[str, Any]:
    kind, metadata = str(body["kind"]), body["metadata"]
    try:
        return await api.patch(
            _PLURALS[kind],
            metadata["namespace"],
            metadata["name"],
            body,
            kind="application/apply-patch+yaml",
            params={"fieldManager": MANAGER, "fieldValidation": "Strict"},
        )
    except ApiError as error:
        where = f"{kind} {metadata['namespace']}/{metadata['name']}"
        if error.status == 409:
            raise Refused(f"{where} is declared otherwise by somebody else: {error.message}") from error
        if error.status == 404:
            raise Refused(
                f"{where}: {error.message}; wanted: KServe in the cluster and the namespace {metadata['namespace']}"
            ) from error
        raise
