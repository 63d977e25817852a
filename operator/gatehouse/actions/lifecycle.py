"""The lifecycle of a version for its author: submit, deprecate, archive, restore. Each sets ``spec.state``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from gatehouse.actions.identity import Person, whoami
from gatehouse.api.meta import GROUP
from gatehouse.api.model_version import DeclaredState, ModelVersion
from gatehouse.cluster.client import ApiClient, ApiError
from gatehouse.errors import Refused

__all__ = ["ANNOTATION_BEFORE", "ANNOTATION_REASON", "Move", "Moved", "Verb", "change_of", "declarers", "move"]

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
class Moved:
    """The version after the change. ``notes`` are for the person who asks."""

    body: Mapping[str, Any]
    outcome: Literal["configured", "unchanged"]
    notes: tuple[str, ...]


async def move(api: ApiClient, wanted: Move) -> Moved:
    """Sets the state of a version, and retries when another writer changes the version at the same time.

    Raises Refused, which says what to do, and ClusterError for a refusal of RBAC or admission.
    """
    person = await whoami(api)
    for _ in range(_ATTEMPTS):
        body = await api.get("modelversions", wanted.namespace, wanted.name)
        version = ModelVersion.model_validate(body)
        change = change_of(version, wanted, person)
        notes = tuple(_notes(version, wanted))
        if not change:
            return Moved(body=body, outcome="unchanged", notes=notes)
        _check_declared(body, wanted)
        patch = {**change, "metadata": {**change["metadata"], "resourceVersion": body["metadata"]["resourceVersion"]}}
        try:
            written = await api.patch(
                "modelversions",
                wanted.namespace,
                wanted.name,
                patch,
                kind="application/merge-patch+json",
                params={"fieldManager": MANAGER, "fieldValidation": "Strict"}
                | ({"dryRun": "All"} if wanted.dry_run else {}),
            )
        except ApiError as error:
            if error.reason != "Conflict":
                raise
            continue
        return Moved(body=written, outcome="configured", notes=notes)
    raise Refused(f"{wanted.namespace}/{wanted.name} is changed by other writers all the time; try again")


def change_of(version: ModelVersion, wanted: Move, person: Person) -> dict[str, Any]:
    """The merge patch for a version; empty when the version has the state. Raises Refused for a forbidden change."""
    spec, where = version.spec, f"ModelVersion {version.metadata.namespace}/{version.metadata.name}"
    if spec.state not in _FROM[wanted.verb]:
        way = "restore it first: gatehouse restore" if wanted.verb != "restore" else "there is nothing to restore"
        raise Refused(f"{where} is {spec.state}; expected: {' or '.join(sorted(_FROM[wanted.verb]))}; {way}")
    state = _TO.get(wanted.verb) or _restored(version)
    claims = wanted.verb == "submit" and spec.submitted_by is None
    if spec.state == state and not claims:
        return {}
    before = spec.state if wanted.verb in {"deprecate", "archive"} else None
    annotations = {ANNOTATION_REASON: wanted.reason, ANNOTATION_BEFORE: before}
    claim = {"submittedBy": person.name} if claims else {}
    return {"metadata": {"annotations": annotations}, "spec": {"state": state, **claim}}


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


def _check_declared(body: Mapping[str, Any], wanted: Move) -> None:
    declaring = ", ".join(declarers(body))
    if declaring and not wanted.force:
        raise Refused(
            f"spec.state of ModelVersion {wanted.namespace}/{wanted.name} is declared by {declaring}, which would set "
            "it back; change the declaration, or use --force"
        )


def _notes(version: ModelVersion, wanted: Move) -> Iterator[str]:
    runs = ", ".join(version.status.deployed_to)
    if runs and wanted.verb in {"deprecate", "archive"}:
        yield f"the version still runs in {runs}: running services are reported, not stopped; new services are rejected"
    if wanted.verb == "restore":
        yield "Gatehouse verifies the version again before it is ready, because its files may have changed"
