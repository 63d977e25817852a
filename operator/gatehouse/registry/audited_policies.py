"""What the audit trails last said of each policy, so that a change is recorded once, also by the next process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Connection, Row, delete, select, update

from gatehouse.domain.audit.policies import PolicyText, policy_facts
from gatehouse.domain.audit.records import fact_document
from gatehouse.registry.audit_operations import LoadPolicies, RecordPolicies
from gatehouse.registry.mappers import RowValues
from gatehouse.registry.tables import audited_policies
from gatehouse.registry.writer import Writer

__all__ = ["load_policies", "record_policies"]

_P: Final = audited_policies.c
_COLUMNS: Final = (_P.name, _P.uid, _P.generation, _P.spec, _P.sha256)


def load_policies(connection: Connection, operation: LoadPolicies) -> Mapping[str, PolicyText]:
    """By name."""
    query = select(*_COLUMNS).where(_P.registry == operation.registry)
    return _by_name(connection.execute(query).all())


def record_policies(writer: Writer, operation: RecordPolicies) -> None:
    """Records what differs from what was recorded last, and nothing else."""
    registry = operation.registry
    before = _by_name(writer.lock(select(*_COLUMNS).where(_P.registry == registry)))
    after = {policy.name: policy for policy in operation.policies}
    gone = sorted(before.keys() - after.keys())
    if gone:
        writer.connection.execute(delete(audited_policies).where(_P.registry == registry, _P.name.in_(gone)))
        writer.rows[audited_policies.name] += len(gone)
    writer.insert(
        audited_policies,
        [{"registry": registry, "name": name, **_values(after[name])} for name in sorted(after.keys() - before.keys())],
    )
    for name in sorted(after.keys() & before.keys()):
        if after[name] != before[name]:
            there = update(audited_policies).where(_P.registry == registry, _P.name == name)
            writer.connection.execute(there.values(_values(after[name])))
            writer.rows[audited_policies.name] += 1
    writer.tell(registry, [fact_document(fact) for fact in policy_facts(before, after, at=operation.at)])


def _by_name(rows: Sequence[Row[*tuple[Any, ...]]]) -> Mapping[str, PolicyText]:
    return {
        row.name: PolicyText(name=row.name, uid=row.uid, generation=row.generation, spec=row.spec, sha256=row.sha256)
        for row in rows
    }


def _values(policy: PolicyText) -> RowValues:
    return {"uid": policy.uid, "generation": policy.generation, "spec": policy.spec, "sha256": policy.sha256}
