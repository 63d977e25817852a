"""The promotion of a version to a stage: the gates on the way, the namespace of the stage, and the template."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from gatehouse.actions.explanation import Explanation
from gatehouse.actions.objects import read
from gatehouse.actions.snapshot import namespace_labels, read_registry, stages_of
from gatehouse.actions.templates import TemplateTarget, emitted_template
from gatehouse.api.model_version import Gate, ModelVersion
from gatehouse.cluster.client import ApiClient, ApiError
from gatehouse.domain.serving.template import LABEL_STAGE, ServingTemplate
from gatehouse.errors import Refused

__all__ = ["Promotion", "PromotionRequest", "promote", "target_namespace"]

MANAGER: Final = "gatehouse-promote"
_PLURALS: Final[Mapping[str, str]] = {"ServingRuntime": "servingruntimes", "InferenceService": "inferenceservices"}
_MOST_NAMED: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class PromotionRequest:
    """``target`` is the namespace to serve from, ``service`` the name of the InferenceService; None chooses them.

    With ``dry_run`` only the gates are read. With ``apply`` the template is applied.
    """

    namespace: str
    name: str
    stage: str
    target: str | None = None
    service: str | None = None
    dry_run: bool = False
    apply: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Promotion:
    """The gates before a stage. The template, and the objects ``applied``, only where the version is cleared."""

    version: ModelVersion
    gates: Sequence[Gate]
    cleared: bool
    notes: Sequence[str] = ()
    template: ServingTemplate | None = None
    applied: Sequence[Mapping[str, Any]] = ()

    @property
    def owed(self) -> tuple[str, ...]:
        """One line for each shut gate. A gate that waits for another is named only when no other gate is shut."""
        shut = [gate for gate in self.gates if gate.shut]
        named = [gate for gate in shut if not gate.waiting] or shut
        return tuple(f"{gate.name}{f' for {gate.stage}' if gate.stage else ''}: {gate.found}" for gate in named)

    @property
    def why_not(self) -> str:
        """Why the version is not cleared, in one sentence."""
        return "; ".join(self.owed) or Explanation(version=self.version).summary

    def wire(self, stage: str) -> dict[str, Any]:
        """What ``-o json`` prints."""
        gates = [gate.wire() for gate in self.gates]
        return {"stage": stage, "cleared": self.cleared, "gates": gates, "owed": list(self.owed)}


async def promote(api: ApiClient, request: PromotionRequest) -> Promotion:
    """Reads the gates, and prepares or applies the template of a version that is cleared.

    Raises Refused for a stage that the registry does not have, for a namespace of another stage, and for a conflict
    with another field manager; ClusterError.
    """
    version = await read(api, ModelVersion, request.namespace, request.name)
    gates = _gates_before(version, request.stage, stages_of(version, await read_registry(api, version)))
    # A status of another generation, or one whose grace is over, clears nothing.
    cleared = Explanation(version=version).ready and request.stage in version.status.cleared_for
    if request.dry_run or not cleared:
        return Promotion(version=version, gates=gates, cleared=cleared)
    namespace, note = await target_namespace(api, request.stage, request.target)
    target = TemplateTarget(service=request.service, namespace=namespace, stage=request.stage)
    template = await emitted_template(api, version, target)
    if template is None:
        raise Refused(f"the template of {request.name} does not exist yet; try again in a moment")
    return Promotion(
        version=version,
        gates=gates,
        cleared=True,
        notes=[note] if note else [],
        template=template,
        applied=await _apply_template(api, template) if request.apply else (),
    )


def _gates_before(version: ModelVersion, stage: str, stages: Sequence[str]) -> tuple[Gate, ...]:
    """The gates of the version itself, of each earlier stage and of the stage."""
    if stage not in stages:
        raise Refused(f"stage is {stage}; expected: a stage of the registry: {', '.join(stages) or 'it has none yet'}")
    passed = {"", *stages[: stages.index(stage) + 1]}
    return tuple(gate for gate in version.status.gates if gate.stage in passed)


async def target_namespace(api: ApiClient, stage: str, given: str | None) -> tuple[str, str | None]:
    """The given namespace, or the only namespace with the label of the stage; and a note about it."""
    if given is not None:
        labels = await namespace_labels(api, given)
        return given, _namespace_note(given, stage, None if labels is None else labels[given])
    try:
        listing = await api.get("namespaces", params={"labelSelector": f"{LABEL_STAGE}={stage}"})
    except ApiError as error:
        if error.status != 403:
            raise
        raise Refused(f"you may not list namespaces; name the one that serves {stage} with --namespace") from error
    names = sorted(body["metadata"]["name"] for body in listing["items"])
    if len(names) == 1:
        return names[0], None
    there = f"namespaces {', '.join(names[:_MOST_NAMED])} are" if names else "no namespace is"
    raise Refused(f"{there} labelled {LABEL_STAGE}={stage}; name one with --namespace")


def _namespace_note(namespace: str, stage: str, labels: Mapping[str, str] | None) -> str | None:
    if labels is None:
        return f"namespace {namespace} cannot be read, so its label {LABEL_STAGE} is unknown; expected: {stage}"
    labelled = labels.get(LABEL_STAGE)
    if labelled is not None and labelled != stage:
        raise Refused(
            f"namespace {namespace} is labelled {LABEL_STAGE}={labelled}; expected: a namespace of stage {stage}. "
            f"kubectl get namespaces -l {LABEL_STAGE}={stage}"
        )
    if labelled is None:
        return f"namespace {namespace} has no label {LABEL_STAGE}, so admission does not gate it"
    return None


async def _apply_template(api: ApiClient, template: ServingTemplate) -> Sequence[Mapping[str, Any]]:
    """Applies the runtime, then the service, without force."""
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
            raise Refused(f"another field manager declares other values for {where}: {error.message}") from error
        if error.status == 404:
            raise Refused(
                f"{where}: {error.message}; expected: KServe in the cluster and the namespace {metadata['namespace']}"
            ) from error
        raise
