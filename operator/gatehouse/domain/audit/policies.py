"""Audit records of GovernancePolicies: creation, change and deletion, with the text before and after.

The API does not keep who changed an object. It keeps the program, under the name that the program gave itself: ``via``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import orjson

from gatehouse.domain.audit.records import UNKNOWN_ACTOR, FactChange, canonical, digest_of

__all__ = ["PolicyText", "policy_facts", "policy_text"]

KIND: Final = "GovernancePolicy"


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyText:
    """The current text of a policy. ``spec`` is canonical JSON text, ``sha256`` the hex SHA-256 of that."""

    name: str
    uid: str
    generation: int
    spec: str
    sha256: str
    via: str | None = field(default=None, compare=False)


def policy_text(body: Mapping[str, Any]) -> PolicyText:
    """The text of a policy from the object of the API server."""
    metadata, spec = body["metadata"], canonical(body.get("spec") or {})
    return PolicyText(
        name=metadata["name"],
        uid=metadata.get("uid", ""),
        generation=metadata.get("generation", 0),
        spec=spec,
        sha256=digest_of(spec),
    )


def policy_facts(
    before: Mapping[str, PolicyText], after: Mapping[str, PolicyText], *, at: datetime
) -> Iterator[FactChange]:
    """One fact for each policy that was created, changed or deleted, by name.

    A policy that was deleted and created again makes two facts.
    """
    for name in sorted(before.keys() | after.keys()):
        was, now = before.get(name), after.get(name)
        if was == now:
            continue
        if was is not None and (now is None or now.uid != was.uid):
            yield _fact(at, name, "PolicyDeleted", f"generation {was.generation} was deleted", before=was)
            was = None
        if now is not None:
            said = f"generation {now.generation}" if was is None else f"generation {was.generation} to {now.generation}"
            said += f", written with {now.via}" if now.via else ""
            yield _fact(at, name, "PolicyChanged" if was else "PolicyAdded", said, before=was, after=now)


def _fact(
    at: datetime,
    name: str,
    reason: str,
    message: str,
    *,
    before: PolicyText | None = None,
    after: PolicyText | None = None,
) -> FactChange:
    return FactChange(
        at=at,
        actor=UNKNOWN_ACTOR,
        kind=KIND,
        namespace="",
        name=name,
        reason=reason,
        message=message,
        before=_told(before),
        after=_told(after),
    )


def _told(text: PolicyText | None) -> Mapping[str, Any]:
    if text is None:
        return {}
    told = {
        "uid": text.uid,
        "generation": text.generation,
        "sha256": text.sha256,
        "spec": orjson.loads(text.spec),
    }
    return told | ({"via": text.via} if text.via else {})
