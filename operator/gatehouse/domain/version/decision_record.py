"""The facts of a decision, as a version's row keeps them; each fact that changed makes an audit record."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import orjson

from gatehouse.api.model_approval import ModelApproval
from gatehouse.api.model_evaluation import ModelEvaluation
from gatehouse.domain.audit.records import SYSTEM_ACTOR, UNKNOWN_ACTOR, FactChange, canonical
from gatehouse.domain.common.clocks import timestamp
from gatehouse.domain.governance.eligibility import submitters
from gatehouse.domain.governance.held import Held, held_under
from gatehouse.domain.version.facts import Facts, Unmet
from gatehouse.domain.version.records import VersionRecord
from gatehouse.domain.version.stages import Outcome
from gatehouse.domain.version.withdrawals import Gone

__all__ = ["fact_changes", "held_to", "judgement", "known_holding"]

MOST_IN_FULL: Final = 500
"""Approvals and evaluations of one version that its row keeps in full.

Of further ones the row keeps only who decided on which bytes: everything that counts is recorded when it comes and when
it goes, however much exists.
"""
SHORT: Final = frozenset({"uid", "approver", "evaluator", "decision", "stage", "kind", "digest"})
MOST_GROUPS: Final = 8

_SAYS: Final[Mapping[str | None, str]] = {
    "Complies": "has no objection to the version",
    "Owes": "has a requirement that is still owed",
    "Denies": "denies the version",
    None: "no longer applies",
}

Remembered = Mapping[str, Any]


def judgement(
    facts: Facts, *, held: Held, gone: Gone, cleared_for: Sequence[str], outcomes: Mapping[str, Outcome]
) -> str:
    """Canonical JSON text of the facts of a decision; the same facts make the same text.

    ``held`` is what the version is held to from now on, ``gone`` are the results that were deleted without a
    withdrawal.
    """
    uid = facts.version.metadata.uid
    approvals = [approval for approval in facts.approvals if approval.spec.version_ref.uid == uid]
    digest = facts.recorded_digest
    evaluations = sorted(
        (result for result in facts.evaluations if result.spec.version_ref.uid == uid or result.spec.digest == digest),
        key=lambda result: result.spec.evaluator in submitters(facts.version.spec),
    )
    return canonical(
        {
            "approvals": _remembered({approval.metadata.name: _approval(approval) for approval in approvals}),
            "evaluations": _remembered({result.metadata.name: _evaluation(result) for result in evaluations}),
            "clearedFor": list(cleared_for),
            **({"gone": {uid: dict(was) for uid, was in gone.items()}} if gone else {}),
            "held": held.wire(),
            "policies": dict(outcomes),
        }
    )


def _remembered(said: Mapping[str, Remembered]) -> Mapping[str, Remembered]:
    """All entries; the first ones in full."""
    if len(said) <= MOST_IN_FULL:
        return said
    full = set(list(said)[:MOST_IN_FULL])
    return {
        name: values if name in full else {key: value for key, value in values.items() if key in SHORT}
        for name, values in said.items()
    }


def known_holding(row: VersionRecord | None) -> Held | None:
    """What the row's version is held to; None for a row from before that was recorded."""
    kept = None if row is None else _read(row.governance).get("held")
    return None if kept is None else Held.read(kept)


def held_to(facts: Facts) -> Held:
    """What the version is held to from now on: by its current submission, and by what applied before."""
    model, registry = facts.model, facts.registry
    if facts.version.spec.state != "Submitted" or isinstance(model, Unmet) or isinstance(registry, Unmet):
        return facts.held
    now = held_under(facts.held, model, registry)
    return now.under(facts.policies)


def _approval(approval: ModelApproval) -> Remembered:
    spec, created = approval.spec, approval.metadata.creation_timestamp
    return {
        "uid": approval.metadata.uid,
        "approver": spec.approver,
        "groups": list(spec.groups[:MOST_GROUPS]),
        "decision": spec.decision,
        "stage": spec.stage,
        "riskTier": spec.risk_tier,
        "digest": spec.digest,
        "servedDigest": spec.served_digest,
        "reason": spec.reason[:1024],
        "at": timestamp(created) if created else "",
    }


def _evaluation(evaluation: ModelEvaluation) -> Remembered:
    spec = evaluation.spec
    return {
        "uid": evaluation.metadata.uid,
        "evaluator": spec.evaluator,
        **({"groups": list(spec.groups)} if spec.groups else {}),
        "kind": spec.kind,
        "suite": spec.suite,
        "dataset": spec.dataset.name,
        **({"datasetVersion": spec.dataset.version} if spec.dataset.version else {}),
        "digest": spec.digest,
        "at": timestamp(spec.evaluated_at),
        "metrics": {metric.name: metric.value for metric in spec.metrics},
    }


def fact_changes(facts: Facts, before: str | None, after: str) -> tuple[FactChange, ...]:
    """One change for each fact that differs between two records of a version; ``before`` is that of its row."""
    if before == after:
        return ()
    return tuple(_Changes(facts, _read(before), _read(after)).all())


def _read(text: str | None) -> dict[str, Any]:
    known: dict[str, Any] = {"approvals": {}, "evaluations": {}, "clearedFor": [], "policies": {}}
    return known | (orjson.loads(text) if text else {})


class _Changes:
    def __init__(self, facts: Facts, before: dict[str, Any], after: dict[str, Any]) -> None:
        self._facts = facts
        self._before = before
        self._after = after

    def all(self) -> Iterator[FactChange]:
        """The changes in causal order."""
        yield from self._objects("evaluations", "ModelEvaluation", author="evaluator", added="Evaluated")
        yield from self._objects("approvals", "ModelApproval", author="approver", added=None)
        yield from self._policies()
        yield from self._stages()

    def _fact(self, *, actor: str, kind: str, name: str, reason: str, message: str, **values: Any) -> FactChange:
        version = self._facts.version
        digest = values.pop("digest", None) or (self._facts.row.digest if self._facts.row else None)
        return FactChange(
            at=self._facts.now,
            actor=actor,
            kind=kind,
            namespace=version.metadata.namespace,
            name=name,
            model=version.spec.model_ref.name,
            version=version.spec.version,
            digest=digest,
            reason=reason,
            message=message,
            **values,
        )

    def _objects(self, part: str, kind: str, *, author: str, added: str | None) -> Iterator[FactChange]:
        before, after = self._before[part], self._after[part]
        for name, was in sorted(before.items()):
            if after.get(name, {}).get("uid") == was["uid"]:
                continue
            withdrawal = self._facts.withdrawals.get(was["uid"])
            yield self._fact(
                actor=withdrawal.by if withdrawal else UNKNOWN_ACTOR,
                kind=kind,
                name=name,
                reason="Revoked",
                message=withdrawal.reason if withdrawal else f"the {kind} of {was[author]} was deleted",
                digest=was["digest"],
                before=was,
            )
        for name in sorted(after):
            now = after[name]
            if before.get(name, {}).get("uid") != now["uid"]:
                yield self._fact(
                    actor=now[author],
                    kind=kind,
                    name=name,
                    reason=added or now["decision"],
                    message=now.get("reason", ""),
                    digest=now["digest"],
                    after=now,
                )

    def _policies(self) -> Iterator[FactChange]:
        before, after = self._before["policies"], self._after["policies"]
        for name in sorted(before.keys() | after.keys()):
            if before.get(name) != after.get(name):
                now = after.get(name)
                yield self._fact(
                    actor=SYSTEM_ACTOR,
                    kind="GovernancePolicy",
                    name=name,
                    reason=f"Policy{now}" if now else "PolicyGone",
                    message=f"policy {name} {_SAYS[now]}",
                    before={"outcome": before[name]} if name in before else {},
                    after={"outcome": now} if now else {},
                )

    def _stages(self) -> Iterator[FactChange]:
        before, after = self._before["clearedFor"], self._after["clearedFor"]
        for stage in (*before, *after):
            if stage in before and stage in after:
                continue
            cleared = stage in after
            yield self._fact(
                actor=SYSTEM_ACTOR,
                kind="ModelVersion",
                name=self._facts.version.metadata.name,
                reason="Cleared" if cleared else "ClearanceWithdrawn",
                message=f"{'cleared' if cleared else 'no longer cleared'} for {stage}",
                before={"clearedFor": before},
                after={"clearedFor": after},
            )
