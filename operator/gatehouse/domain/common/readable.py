"""Reads objects as their kinds: the result is always a value and never an exception, whatever the API server accepted.

Two programs validate an object: the API server by the CRD's schema, and pydantic. An object counts as absent and is
named where the two disagree, where an older schema was more lenient, or where this program has a fault.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from pydantic import ValidationError

from gatehouse.api.meta import Condition, ConditionedStatus, Resource

__all__ = ["UNREADABLE", "Unreadable", "member", "read", "read_conditions", "read_status"]

UNREADABLE: Final = "Unreadable"
"""Reason of what follows from an unreadable object."""
LONGEST_PLACE: Final = 200
LONGEST_PROBLEM: Final = 300

R = TypeVar("R", bound=Resource)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable:
    """An object that the API server has and that cannot be read as its kind. ``problem`` names the field.

    ``may_refuse`` is whether the object may be a refusal, which must not be ignored.
    """

    kind: str
    namespace: str
    name: str
    problem: str
    may_refuse: bool = False

    @property
    def subject(self) -> str:
        """The object, as in ``ModelApproval team/granite-1-ok``."""
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"

    @property
    def message(self) -> str:
        """The object and its problem as a sentence."""
        return f"{self.subject} cannot be read: {self.problem}"


def read(kind: type[R], body: Mapping[str, Any]) -> R | Unreadable:
    """The object as its kind. Unreadable members of a status are left out: the operator writes them anew."""
    try:
        return kind.model_validate(body)
    except ValidationError:
        pass
    except Exception as error:  # noqa: BLE001 - a fault of a validator affects one object only
        return _unreadable(kind, body, f"the validator failed with {type(error).__name__}")
    try:
        return kind.model_validate({**body, "status": read_status(kind, body)})
    except ValidationError as error:
        return _unreadable(kind, body, _problem(error))


def read_status(kind: type[Resource], body: Mapping[str, Any]) -> ConditionedStatus:
    """The status of an object, without its unreadable members."""
    empty: ConditionedStatus = kind.model_fields["status"].get_default(call_default_factory=True)
    kept = body.get("status")
    if not isinstance(kept, Mapping):
        return empty
    members = dict(kept)
    for _ in range(2):
        try:
            return type(empty).model_validate(members)
        except ValidationError as error:
            bad = {each["loc"][0] for each in error.errors(include_url=False, include_input=False) if each["loc"]}
            members = {name: value for name, value in members.items() if name not in bad}
        except Exception:  # noqa: BLE001 - as above: an unreadable status counts as empty
            return empty
    return empty


def read_conditions(status: Mapping[str, Any]) -> Sequence[Condition]:
    """The conditions that ``read_status`` finds in a status: none where one of them is unreadable.

    For callers that read only conditions. The API server accepts [] as a time.
    """
    try:
        return ConditionedStatus.model_validate({"conditions": status.get("conditions") or []}).conditions
    except ValidationError:
        return []


def member(body: object, *path: str) -> object:
    """The value at a path in an unreadable object; None where the path does not exist."""
    found = body
    for name in path:
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


def _unreadable(kind: type[Resource], body: Mapping[str, Any], problem: str) -> Unreadable:
    return Unreadable(
        kind=kind.info.kind,
        namespace=str(member(body, "metadata", "namespace") or ""),
        name=str(member(body, "metadata", "name") or ""),
        problem=problem,
    )


def _problem(error: ValidationError) -> str:
    """The first unreadable field. Its value is left out: it may hold anything."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    return f"{_place(first['loc'])}: {first['msg'][:LONGEST_PROBLEM]}"


def _place(location: Sequence[int | str]) -> str:
    place = ".".join(str(part) for part in location)
    printable = "".join(char if char.isprintable() else "?" for char in place)
    return printable if len(printable) <= LONGEST_PLACE else f"{printable[:LONGEST_PLACE]}…"
