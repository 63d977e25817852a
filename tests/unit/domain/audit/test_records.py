"""Whatever stands in a row of the trail, looking at it is a verdict and never an exception."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

import policies
import worlds
from gatehouse.domain.audit.chain import verify_chain
from gatehouse.domain.audit.records import (
    AuditHead,
    AuditRecord,
    RecordUnreadable,
    StoredRecord,
    digest_of,
    read_record,
)
from gatehouse.domain.audit.trust import Trusted
from gatehouse.domain.version.decision_record import fact_changes, held_to, judgement
from gatehouse.domain.version.facts import Facts
from gatehouse.domain.version.withdrawals import gone_results
from trails import REGISTRY, a_fact, chain

TIMES = ["", "now", "2026-11-21", "2026-11-21T12:00:00", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(max_size=8) | st.sampled_from(TIMES),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=4,
)
GOOD: dict[str, Any] = orjson.loads(chain([a_fact(1)])[0].content)
DOCUMENTS = st.one_of(
    VALUES,
    st.dictionaries(st.sampled_from(sorted(GOOD)), VALUES, max_size=4).map(lambda changes: GOOD | changes),
)
CONTENTS = st.one_of(st.text(max_size=40), DOCUMENTS.map(lambda value: orjson.dumps(value).decode()))


@given(CONTENTS)
def test_a_record_reads_or_says_that_it_does_not(content: str) -> None:
    try:
        found = read_record(StoredRecord(1, content, digest_of(content)))
    except RecordUnreadable:
        return
    assert isinstance(found, AuditRecord)
    assert found.fact.at.tzinfo is not None


@given(st.lists(CONTENTS, min_size=1, max_size=3), st.booleans())
def test_a_trail_of_anything_has_a_verdict(contents: list[str], rehash: bool) -> None:
    rows = [
        StoredRecord(seq, content, digest_of(content) if rehash else "0" * 64)
        for seq, content in enumerate(contents, start=1)
    ]
    verdict = verify_chain(
        rows, registry=REGISTRY, head=AuditHead(rows[-1].seq, rows[-1].hash), trusted=Trusted((), ())
    )
    assert verdict.registry == REGISTRY


def judged(facts: Facts) -> str:
    return judgement(facts, held=held_to(facts), gone=gone_results(facts), cleared_for=(), outcomes={})


def recorded(before: Facts | None, after: Facts) -> list[tuple[str, str]]:
    was = None if before is None else judged(before)
    now = judged(after)
    return [(fact.name, fact.reason) for fact in fact_changes(after, was, now)]


@pytest.mark.parametrize("count", [1, 500, 501, 1001, 2500])
def test_every_decision_that_counts_is_recorded_when_it_comes_and_when_it_goes(count: int) -> None:
    approvals = tuple(policies.approval(f"u{number}", name=f"a-{number:05}") for number in range(count))
    facts = worlds.facts(row=worlds.row(), approvals=approvals)
    names = [each.metadata.name for each in approvals]

    assert recorded(None, facts) == [(name, "Approved") for name in names]
    assert recorded(facts, facts) == []
    assert recorded(facts, worlds.facts(row=worlds.row())) == [(name, "Revoked") for name in names]
    one_more = policies.approval("late", name="0-first")
    assert recorded(facts, worlds.facts(row=worlds.row(), approvals=(one_more, *approvals))) == [
        ("0-first", "Approved")
    ]


def test_what_a_row_remembers_of_very_many_decisions_fits_its_column() -> None:
    groups = [f"{number:03}" + "g" * 250 for number in range(64)]
    approvals = tuple(
        policies.approval(f"u{number}", name=f"a-{number:05}", groups=groups, reason="é" * 4096)
        for number in range(10_000)
    )
    text = judged(worlds.facts(approvals=approvals))
    assert len(text.encode()) < 8 * 2**20
