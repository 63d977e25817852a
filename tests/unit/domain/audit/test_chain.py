"""Every touch of a trail is found, at the position where it was touched."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatehouse.domain.audit.chain import SUMMARISED, TRAIL
from gatehouse.domain.audit.checkpoints import (
    AuditKeyError,
    CheckpointUnreadable,
    Summary,
    checkpoint_json,
    read_checkpoint,
)
from gatehouse.domain.audit.keys import PublicKeys, Signer, new_key_pem
from gatehouse.domain.audit.records import (
    LARGEST_FACTS,
    LONGEST_MESSAGE,
    AuditHead,
    RecordUnreadable,
    StoredRecord,
    canonical,
    digest_of,
    fact_document,
    read_record,
    seal,
)
from trails import (
    KEYS,
    NOW,
    OTHER_SIGNER,
    REGISTRY,
    SIGNER,
    Trail,
    a_fact,
    a_trail,
    chain,
    found,
    judged,
    recomputed,
    rehashed,
)


@st.composite
def trails(draw: st.DrawFn, *, least: int = 3) -> Trail:
    count = draw(st.integers(least, 30))
    return a_trail(count, checkpoints=draw(st.sets(st.integers(1, count), max_size=5)))


def verdict_of(trail: Trail, rows: list[StoredRecord], **others: Any) -> Any:
    return judged(rows, **{"head": trail.head, "checkpoints": trail.checkpoints} | others)


def position(data: st.DataObject, trail: Trail, *, last: int = 0) -> int:
    return data.draw(st.integers(1, len(trail.rows) - last), label="position")


@given(trails(least=1))
def test_a_trail_as_it_was_written_is_intact(trail: Trail) -> None:
    verdict = verdict_of(trail, trail.rows)
    assert verdict.intact
    assert (verdict.records, verdict.first, verdict.last) == (len(trail.rows), 1, len(trail.rows))
    assert verdict.checkpoints == len(trail.checkpoints)
    assert verdict.vouched == (trail.checkpoints[-1].seq if trail.checkpoints else 0)


def test_a_trail_without_records_is_intact() -> None:
    assert judged([], head=None).intact


@given(trails(), st.data())
def test_any_changed_byte_is_found_where_it_is(trail: Trail, data: st.DataObject) -> None:
    at = position(data, trail)
    row = trail.rows[at - 1]
    index = data.draw(st.integers(0, len(row.content) - 1))
    other = data.draw(st.characters(codec="utf-8").filter(lambda char: char != row.content[index]))
    rows = list(trail.rows)
    rows[at - 1] = row._replace(content=row.content[:index] + other + row.content[index + 1 :])
    assert found(verdict_of(trail, rows)) == ("Changed", at)


@given(trails(), st.data())
def test_a_changed_hash_is_found_where_it_is(trail: Trail, data: st.DataObject) -> None:
    at = position(data, trail)
    rows = list(trail.rows)
    rows[at - 1] = rows[at - 1]._replace(hash="0" * 64)
    assert found(verdict_of(trail, rows)) == ("Changed", at)


@given(trails(), st.data())
def test_a_record_rehashed_after_a_change_is_found(trail: Trail, data: st.DataObject) -> None:
    at = position(data, trail)
    rows = list(trail.rows)
    rows[at - 1] = rehashed(rows[at - 1], actor="mallory")
    signed = [checkpoint.seq for checkpoint in trail.checkpoints]
    if at in signed:
        earlier = max([seq for seq in signed if seq < at], default=0)
        assert found(verdict_of(trail, rows)) == ("Replaced", earlier + 1)
    else:
        assert found(verdict_of(trail, rows)) == ("Changed", at)


@given(trails(), st.data())
def test_a_removed_record_is_found(trail: Trail, data: st.DataObject) -> None:
    at = position(data, trail, last=1)
    rows = trail.rows[: at - 1] + trail.rows[at:]
    verdict = verdict_of(trail, rows)
    assert found(verdict) == ("Removed", at)
    assert verdict.first_bad.until == at


@given(trails(), st.data())
def test_a_removed_record_is_found_when_the_others_close_up(trail: Trail, data: st.DataObject) -> None:
    at = position(data, trail, last=1)
    rows = trail.rows[: at - 1] + [row._replace(seq=row.seq - 1) for row in trail.rows[at:]]
    assert found(verdict_of(trail, rows)) == ("Moved", at)


@given(trails(), st.data())
def test_an_inserted_record_is_found_when_the_others_make_room(trail: Trail, data: st.DataObject) -> None:
    at = position(data, trail)
    before = AuditHead(at - 1, trail.rows[at - 2].hash) if at > 1 else None
    (forged,) = chain([a_fact(at, actor="mallory")], after=before)
    rows = [*trail.rows[: at - 1], forged, *(row._replace(seq=row.seq + 1) for row in trail.rows[at - 1 :])]
    verdict = verdict_of(trail, rows)
    signed = [checkpoint.seq for checkpoint in trail.checkpoints]
    kind = "Replaced" if at in signed else "Inserted"
    where = max([seq for seq in signed if seq < at], default=0) + 1 if at in signed else at
    assert found(verdict) == (kind, where)


@given(trails(), st.data())
def test_swapped_records_are_found(trail: Trail, data: st.DataObject) -> None:
    first = position(data, trail, last=1)
    second = data.draw(st.integers(first + 1, len(trail.rows)))
    rows = list(trail.rows)
    rows[first - 1] = trail.rows[second - 1]._replace(seq=first)
    rows[second - 1] = trail.rows[first - 1]._replace(seq=second)
    assert found(verdict_of(trail, rows)) == ("Moved", first)


@given(trails(), st.data())
def test_a_record_copied_over_another_is_found(trail: Trail, data: st.DataObject) -> None:
    source = position(data, trail, last=1)
    target = data.draw(st.integers(source + 1, len(trail.rows)))
    rows = list(trail.rows)
    rows[target - 1] = trail.rows[source - 1]._replace(seq=target)
    assert found(verdict_of(trail, rows)) == ("Moved", target)


@given(trails(), st.data())
def test_a_trail_cut_off_is_found_by_its_head(trail: Trail, data: st.DataObject) -> None:
    kept = data.draw(st.integers(0, len(trail.rows) - 1))
    assert found(verdict_of(trail, trail.rows[:kept])) == ("CutOff", kept + 1)


@given(trails(), st.data())
def test_a_trail_cut_off_with_its_head_is_found_by_a_checkpoint(trail: Trail, data: st.DataObject) -> None:
    signed = data.draw(st.integers(1, len(trail.rows)))
    kept = data.draw(st.integers(0, signed - 1))
    full = a_trail(len(trail.rows), checkpoints=[signed])
    head = AuditHead(kept, full.rows[kept - 1].hash) if kept else None
    assert found(judged(full.rows[:kept], head=head, checkpoints=full.checkpoints)) == ("CutOff", kept + 1)


@given(st.integers(3, 20), st.data())
def test_a_recomputed_trail_is_found_by_its_checkpoints(count: int, data: st.DataObject) -> None:
    signed = sorted(data.draw(st.sets(st.integers(1, count), min_size=1, max_size=5)))
    trail = a_trail(count, checkpoints=signed)
    at = data.draw(st.integers(1, signed[-1]))
    rows = list(trail.rows)
    rows[at - 1] = rehashed(rows[at - 1], actor="mallory")
    rows = recomputed(rows, at - 1)
    head = AuditHead(count, rows[-1].hash, signed[-1])
    assert judged(rows, head=head).intact is False, "the head names a checkpoint that is gone"
    assert judged(rows, head=head._replace(checkpoint=0)).intact, "hashes alone tell nothing"
    verdict = judged(rows, head=head, checkpoints=trail.checkpoints)
    caught = min(seq for seq in signed if seq >= at)
    assert found(verdict) == ("Replaced", max([seq for seq in signed if seq < at], default=0) + 1)
    assert verdict.first_bad is not None
    assert verdict.first_bad.until == caught


def test_a_recomputed_trail_with_checkpoints_of_another_key_is_found() -> None:
    trail = a_trail(9, checkpoints=[3, 6, 9])
    rows = recomputed([rehashed(trail.rows[0], actor="mallory"), *trail.rows[1:]], 0)
    forged = [
        OTHER_SIGNER.checkpoint(REGISTRY, AuditHead(9, rows[8].hash), at=NOW, previous=None),
        replace(trail.checkpoints[1], hash=rows[5].hash),
    ]
    head = AuditHead(9, rows[8].hash, 9)
    kinds = [finding.kind for finding in judged(rows, head=head, checkpoints=forged).findings]
    assert kinds == ["CheckpointForged", "CheckpointForged", "CheckpointRemoved"]
    verdict = judged(rows, head=head._replace(checkpoint=0), checkpoints=(), copies=trail.checkpoints)
    assert found(verdict) == ("Replaced", 1)


@pytest.mark.parametrize("gone", [0, 1, 2])
def test_a_deleted_checkpoint_is_found(gone: int) -> None:
    trail = a_trail(9, checkpoints=[3, 6, 9])
    kept = [checkpoint for index, checkpoint in enumerate(trail.checkpoints) if index != gone]
    assert found(judged(trail.rows, head=trail.head, checkpoints=kept)) == ("CheckpointRemoved", 3 * (gone + 1))


def test_all_checkpoints_deleted_are_found_by_their_copies() -> None:
    trail = a_trail(9, checkpoints=[3, 9])
    head = trail.head._replace(checkpoint=0)
    verdict = judged(trail.rows, head=head, copies=trail.checkpoints)
    assert [(each.kind, each.position) for each in verdict.findings] == [
        ("CheckpointRemoved", 3),
        ("CheckpointRemoved", 9),
    ]


def test_a_database_put_back_to_an_older_state_is_found_by_the_copies() -> None:
    trail = a_trail(9, checkpoints=[3, 6, 9])
    rows = [
        *trail.rows[:6],
        *chain([a_fact(n, actor="bob") for n in range(7, 12)], after=AuditHead(6, trail.rows[5].hash)),
    ]
    again = SIGNER.checkpoint(REGISTRY, AuditHead(11, rows[10].hash), at=NOW, previous=trail.checkpoints[1])
    kept = [*trail.checkpoints[:2], again]
    head = AuditHead(11, rows[10].hash, 11)
    assert judged(rows, head=head, checkpoints=kept).intact
    verdict = judged(rows, head=head, checkpoints=kept, copies=trail.checkpoints)
    assert found(verdict) == ("Replaced", 7)


def test_very_many_records_without_a_checkpoint_are_told() -> None:
    trail = a_trail(5_101, checkpoints=[100])
    assert found(verdict_of(trail, trail.rows)) == ("Unsigned", 101)
    assert verdict_of(trail, trail.rows, keys=None).intact


def test_a_clock_that_was_set_back_is_noted_and_no_fault() -> None:
    times = [NOW, NOW - timedelta(minutes=4), NOW - timedelta(days=1), NOW - timedelta(hours=23), NOW]
    rows = chain([a_fact(number, at=at) for number, at in enumerate(times)])
    verdict = judged(rows, head=AuditHead(5, rows[-1].hash))
    assert verdict.intact
    assert "2 records are more than 5 minutes older than an earlier record (first at 3, 4)" in verdict.notes[0]


def summarised(
    trail: Trail, to: int, *, signer: Signer = SIGNER, said: dict[str, Any] | None = None
) -> tuple[list[StoredRecord], AuditHead]:
    """The trail without its records up to ``to``, and with the summary that stands for them."""
    after = {**signer.summary(Summary(registry=REGISTRY, to=to, hash=trail.rows[to - 1].hash)), **(said or {})}
    fact = a_fact(99, kind=TRAIL, reason=SUMMARISED, after=after)
    rows = trail.rows[to:] + chain([fact], after=trail.head)
    return rows, AuditHead(rows[-1].seq, rows[-1].hash, trail.head.checkpoint)


def test_a_summary_stands_for_what_is_past_its_retention() -> None:
    trail = a_trail(9, checkpoints=[3, 6, 9])
    rows, head = summarised(trail, 4)
    verdict = judged(rows, head=head, checkpoints=trail.checkpoints)
    assert verdict.intact
    assert (verdict.first, verdict.summarised, verdict.records) == (5, 4, 6)
    assert "records 1 to 4 were older than the retention" in verdict.notes[0]


@pytest.mark.parametrize(
    ("signer", "changes", "dropped"),
    [(OTHER_SIGNER, {}, 0), (SIGNER, {"to": 3}, 0), (SIGNER, {"hash": "0" * 64}, 0), (SIGNER, {}, 1)],
)
def test_a_gap_that_no_signed_summary_explains_is_a_removal(
    signer: Signer, changes: dict[str, Any], dropped: int
) -> None:
    trail = a_trail(9, checkpoints=[9])
    rows, head = summarised(trail, 4, signer=signer, said=changes)
    assert found(judged(rows[dropped:], head=head, checkpoints=trail.checkpoints)) == ("Removed", 1)


def test_a_record_of_another_registry_is_found() -> None:
    trail = a_trail(3)
    other = seal(fact_document(a_fact()), registry="team-b/other", seq=2, previous=trail.rows[0].hash)
    assert found(judged([trail.rows[0], other], head=AuditHead(2, other.hash))) == ("Changed", 2)


@given(st.text(max_size=200))
def test_hostile_content_breaks_a_trail_and_not_the_look(content: str) -> None:
    rows = [StoredRecord(1, content, digest_of(content))]
    assert found(judged(rows, head=AuditHead(1, rows[0].hash))) == ("Changed", 1)
    with pytest.raises(RecordUnreadable):
        read_record(rows[0])


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | st.text(),
    lambda members: st.lists(members, max_size=4) | st.dictionaries(st.text(), members, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(st.text(), JSON_VALUES, max_size=5), st.text())
def test_what_is_recorded_reads_back_and_is_canonical(facts: dict[str, Any], message: str) -> None:
    stored = seal(fact_document(a_fact(before=facts, message=message)), registry=REGISTRY, seq=1, previous="0" * 64)
    record = read_record(stored)
    assert record.fact.message == message[:LONGEST_MESSAGE]
    assert canonical(orjson.loads(stored.content)) == stored.content
    assert judged([stored], head=AuditHead(1, stored.hash)).intact


def test_facts_are_bounded() -> None:
    fact = a_fact(
        message="x" * 10_000, before={"small": 1, "large": "y" * 50_000}, after={str(n): n for n in range(5000)}
    )
    document = fact_document(fact)
    assert document["message"].endswith("… (6000 more characters)")
    assert document["before"]["small"] == 1
    assert document["before"]["large"].keys() == {"sha256", "bytes"}
    assert document["after"].keys() == {"sha256", "bytes"}
    assert len(canonical(document)) < 2 * LARGEST_FACTS


def test_half_a_surrogate_pair_is_kept_as_an_escape() -> None:
    document = fact_document(a_fact(message="a\udcffb", before={"k\ud800": "v\udfff"}))
    assert document["message"] == "a\\udcffb"
    assert document["before"] == {"k\\ud800": "v\\udfff"}


def test_what_json_has_no_form_for_is_refused() -> None:
    with pytest.raises(TypeError, match="a fact holds a bytes"):
        fact_document(a_fact(before={"a": b"x"}))
    with pytest.raises(ValueError, match="has no time zone"):
        fact_document(a_fact(at=NOW.replace(tzinfo=None)))


def test_a_checkpoint_survives_its_copy() -> None:
    checkpoint = a_trail(3, checkpoints=[2]).checkpoints[0]
    assert read_checkpoint(checkpoint_json(checkpoint), where="the copy") == checkpoint
    assert KEYS.signed(checkpoint)
    assert not KEYS.signed(replace(checkpoint, seq=3))
    assert not KEYS.signed(replace(checkpoint, signature="?"))
    assert not PublicKeys([OTHER_SIGNER.public_key]).signed(checkpoint)


@given(st.binary(max_size=300))
def test_hostile_copies_are_refused_by_name(data: bytes) -> None:
    with pytest.raises(CheckpointUnreadable, match="the copy is not a checkpoint"):
        read_checkpoint(data, where="the copy")


def test_keys_are_read_and_others_refused() -> None:
    private, public = new_key_pem()
    assert PublicKeys.from_pem(public * 2, where="keys").ids == (Signer.from_pem(private, where="key").key_id,)
    for pem in (b"", b"\xff", private):
        with pytest.raises(AuditKeyError, match="keys holds"):
            PublicKeys.from_pem(pem, where="keys")
    with pytest.raises(AuditKeyError, match="key holds no private key"):
        Signer.from_pem(public, where="key")
