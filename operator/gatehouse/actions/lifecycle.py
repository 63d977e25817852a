"""The lifecycle of versions and models for their authors: submit, deprecate, archive, restore. Each sets a state."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from gatehouse.actions.identity import Authorizer, Person
from gatehouse.api.meta import GROUP, KindInfo
from gatehouse.api.model_version import DeclaredState, ModelVersion
from gatehouse.api.registered_model import RegisteredModel
from gatehouse.cluster.client import ApiClient, ApiError
from gatehouse.errors import Refused

__all__ = [
    "ANNOTATION_BEFORE",
    "ANNOTATION_REASON",
    "ModelMove",
    "Move",
    "Moved",
    "Verb",
    "change_of",
    "declarers",
    "move",
    "move_model",
]

Verb = Literal["submit", "deprecate", "archive", "restore"]

MANAGER: Final = "gatehouse-lifecycle"
ANNOTATION_REASON: Final = f"{GROUP}/reason"
"""Why ``spec.state`` has its value, in the words of the person who set it. A change without a reason removes it."""
ANNOTATION_BEFORE: Final = f"{GROUP}/state-before"
"""The state that ``restore`` sets again."""
_ATTEMPTS: Final = 3

_FROM: Final[Mapping[Verb, frozenset[DeclaredState]]] = {
    "submit": frozenset({"Draft", "Submitted"}),
    "deprecate": frozenset({"Draft", "Submitted", "Deprecated"}),
    "archive": frozenset({"Draft", "Submitted", "Deprecated", "Archived"}),
    "restore": frozenset({"Deprecated", "Archived"}),
}
_TO: Final[Mapping[Verb, DeclaredState]] = {"submit": "Submitted", "deprecate": "Deprecated", "archive": "Archived"}
_STATES: Final[Mapping[str, DeclaredState]] = {
    "Draft": "Draft",
    "Submitted": "Submitted",
    "Deprecated": "Deprecated",
}
"""The states that a version can be restored to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """A change of state and its reason. With ``force`` even where another tool declares the state."""

    namespace: str
    name: str
    verb: Verb
    reason: str | None = None
    force: bool = False
    dry_run: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelMove:
    """A change of a model's state and its reason. The versions of an archived model are archived too."""

    namespace: str
    name: str
    verb: Literal["archive", "restore"]
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """The object after the change. ``notes`` are for the person who asks."""

    body: Mapping[str, Any]
    outcome: Literal["configured", "unchanged"]
    notes: tuple[str, ...] = ()


async def move(api: ApiClient, authorizer: Authorizer, request: Move) -> Moved:
    """Sets the state of a version, and retries when another writer changes the version at the same time.

    Raises Refused, which says what to do, and ClusterError for a refusal of RBAC or admission.
    """
    person = await authorizer.whoami()
    written = await _written(
        api,
        ModelVersion.info,
        request,
        change=lambda body: change_of(ModelVersion.model_validate(body), request, person),
        force=request.force,
        dry_run=request.dry_run,
    )
    notes = tuple(_notes(ModelVersion.model_validate(written.body), request))
    return replace(written, notes=notes)


async def move_model(api: ApiClient, request: ModelMove) -> Moved:
    """Sets the state of a model. Retries and raises as :func:`move`."""
    return await _written(api, RegisteredModel.info, request, change=lambda body: _change_of_model(body, request))


async def _written(
    api: ApiClient,
    kind: KindInfo,
    request: Move | ModelMove,
    *,
    change: Callable[[Mapping[str, Any]], Mapping[str, Any]],
    force: bool = False,
    dry_run: bool = False,
) -> Moved:
    """Writes the merge patch that ``change`` makes of an object; an empty patch is not written."""
    for _ in range(_ATTEMPTS):
        body = await api.get(kind.plural, request.namespace, request.name)
        wanted = change(body)
        if not wanted:
            return Moved(body=body, outcome="unchanged")
        if not force:
            _check_declared(body, kind)
        patch = {**wanted, "metadata": {**wanted["metadata"], "resourceVersion": body["metadata"]["resourceVersion"]}}
        try:
            written = await api.patch(
                kind.plural,
                request.namespace,
                request.name,
                patch,
                kind="application/merge-patch+json",
                params={"fieldManager": MANAGER, "fieldValidation": "Strict"} | ({"dryRun": "All"} if dry_run else {}),
            )
        except ApiError as error:
            if error.reason != "Conflict":
                raise
            continue
        return Moved(body=written, outcome="configured")
    raise Refused(
        f"{request.namespace}/{request.name} changes all the time, because other writers change it; try again"
    )


def change_of(version: ModelVersion, request: Move, person: Person) -> dict[str, Any]:
    """The merge patch for a version; empty when the version has the state. Raises Refused for a forbidden change."""
    spec, where = version.spec, f"ModelVersion {version.metadata.namespace}/{version.metadata.name}"
    if spec.state not in _FROM[request.verb]:
        way = "restore it first: gatehouse restore" if request.verb != "restore" else "there is nothing to restore"
        raise Refused(f"{where} is {spec.state}; expected: {' or '.join(sorted(_FROM[request.verb]))}; {way}")
    state = _TO.get(request.verb) or _restored(version)
    claims = request.verb == "submit" and spec.submitted_by is None
    if spec.state == state and not claims:
        return {}
    before = spec.state if request.verb in {"deprecate", "archive"} else None
    annotations = {ANNOTATION_REASON: request.reason, ANNOTATION_BEFORE: before}
    claim = {"submittedBy": person.name} if claims else {}
    return {"metadata": {"annotations": annotations}, "spec": {"state": state, **claim}}


def _change_of_model(body: Mapping[str, Any], request: ModelMove) -> Mapping[str, Any]:
    state = "Archived" if request.verb == "archive" else "Live"
    if RegisteredModel.model_validate(body).spec.state == state:
        return {}
    return {"metadata": {"annotations": {ANNOTATION_REASON: request.reason}}, "spec": {"state": state}}


def _restored(version: ModelVersion) -> DeclaredState:
    """The earlier state of the version; Submitted where the annotation is missing or names no other state."""
    before = _STATES.get(version.metadata.annotations.get(ANNOTATION_BEFORE, ""), "Submitted")
    return "Submitted" if before == version.spec.state else before


def declarers(body: Mapping[str, Any]) -> Iterator[str]:
    """Field managers that declare ``spec.state`` elsewhere, and would set it back."""
    for entry in body["metadata"].get("managedFields", ()):
        fields = entry.get("fieldsV1", {}).get("f:spec", {})
        if entry["operation"] == "Apply" and "f:state" in fields and entry["manager"] != MANAGER:
            yield str(entry["manager"])


def _check_declared(body: Mapping[str, Any], kind: KindInfo) -> None:
    declaring, metadata = ", ".join(declarers(body)), body["metadata"]
    if declaring:
        raise Refused(
            f"{declaring} declares spec.state of {kind.kind} {metadata['namespace']}/{metadata['name']}, and would "
            "restore the declared state; change the declaration, or use --force"
        )


def _notes(version: ModelVersion, request: Move) -> Iterator[str]:
    runs = ", ".join(version.status.deployed_to)
    if runs and request.verb in {"deprecate", "archive"}:
        yield f"the version still runs in {runs}: running services are reported, not stopped; new services are rejected"
    if request.verb == "restore":
        yield "Gatehouse verifies the version again before it is ready, because its files may have changed"
