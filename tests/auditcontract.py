"""What every database must do for the audit trail, and what is found when somebody touches its rows by SQL."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import delete, event, insert, select, update

from gatehouse.domain.audit.checkpoints import Checkpoint, Summary
from gatehouse.domain.audit.policies import PolicyText, policy_text
from gatehouse.domain.audit.records import AuditHead, AuditRecord, read_record
from gatehouse.domain.audit.trust import Verdict
from gatehouse.domain.common.errors import Transient
from gatehouse.registry.readers import open_trails
from gatehouse.registry.tables import audit_checkpoints, audit_heads, audit_records, history, model_versions
from registrycontract import NOW, OTHER_DIGEST, Opened, a_change, a_model, a_version, load
from trails import REGISTRY, SIGNER, a_fact, chain, found, judged, recomputed, rehashed

_R, _H, _C = audit_records.c, audit_heads.c, audit_checkpoints.c


def a_policy(name: str, *, uid: str = "a", generation: int = 1, **spec: Any) -> PolicyText:
    metadata = {"name": name, "uid": uid, "generation": generation}
    return policy_text({"metadata": metadata, "spec": {"mode": "Enforce", **spec}})


async def records_of(opened: Opened) -> list[AuditRecord]:
    return [read_record(row) for row in await opened.rows.audit.records(after=0, limit=10_000)]


def reasons(records: Sequence[AuditRecord]) -> list[tuple[str, str]]:
    return [(record.fact.kind, record.fact.reason) for record in records]


def look(opened: Opened, *, copies: Sequence[Checkpoint] = ()) -> Verdict:
    """What ``gatehouse audit verify`` finds."""
    (database,) = opened.databases._databases
    from gatehouse.registry.address import DatabaseLimits, Target

    target = Target(
        address=database.address,
        credentials=database.credentials,
        limits=DatabaseLimits(),
        data_dir=opened.databases._data_dir,
    )
    with open_trails(target) as trails:
        assert trails.registries() in ([REGISTRY], [])
        return judged(
            trails.records(REGISTRY),
            head=trails.head(REGISTRY),
            checkpoints=trails.checkpoints(REGISTRY),
            copies=copies,
        )


async def grown(opened: Opened, count: int, *, every: int = 4) -> list[Checkpoint]:
    """A trail of ``count`` records with a checkpoint each ``every``."""
    signed: list[Checkpoint] = []
    for number in range(1, count + 1):
        await opened.rows.audit.append([a_fact(number)])
        if number % every == 0:
            signed.append(await sign(opened, signed[-1] if signed else None))
    return signed


async def sign(opened: Opened, previous: Checkpoint | None) -> Checkpoint:
    standing = await opened.rows.audit.standing()
    assert standing.head is not None
    checkpoint = SIGNER.checkpoint(REGISTRY, standing.head, at=NOW, previous=previous)
    await opened.rows.audit.save_checkpoint(checkpoint)
    return checkpoint


class AuditContract:
    """Subclasses have the fixtures ``opened`` and ``again`` of :class:`registrycontract.RegistryContract`."""

    async def test_each_change_of_a_row_is_one_record(self, opened: Opened) -> None:
        rows = opened.rows
        await rows.save_model(a_model())
        ids = await rows.save_version(
            a_version(phase="Verifying", digest=None, spec='{"version":"v1"}'),
            files=None,
            change=a_change(None, "Verifying", digest=None),
        )
        ready = a_version(id=ids.version_id, spec='{"description":"new","version":"v1"}')
        await rows.save_version(ready, files=None, change=a_change("Verifying"))
        await rows.save_version(ready, files=None, change=None)
        await rows.save_model(a_model(id=ids.model_id, spec='{"provider":"IBM","riskTier":"High"}'))
        gone = a_change(None, "Archived", digest=None, reason="ObjectDeleted")
        await rows.archive_object("version", namespace="team-a", name="granite-v1", change=gone)
        await rows.archive_object("model", namespace="team-a", name="granite", change=gone)
        records = await records_of(opened)
        assert reasons(records) == [
            ("RegisteredModel", "Registered"),
            ("ModelVersion", "Verified"),
            ("ModelVersion", "Verified"),
            ("RegisteredModel", "Changed"),
            ("ModelVersion", "ObjectDeleted"),
            ("RegisteredModel", "ObjectDeleted"),
        ]
        second = records[2].fact
        assert (second.actor, second.model, second.version) == ("alice", "granite", "v1")
        assert second.before == {"phase": "Verifying", "digest": None, "spec": {}}
        assert second.after == {
            "phase": "Ready to Deploy",
            "digest": ready.digest,
            "spec": {"description": "new"},
        }
        assert records[3].fact.after == {"spec": {"riskTier": "High"}}
        assert records[4].fact.before == {"phase": "Ready to Deploy", "state": "LIVE"}
        assert [record.seq for record in records] == [1, 2, 3, 4, 5, 6]
        assert look(opened).intact

    async def test_each_change_of_a_policy_is_one_record(self, opened: Opened, again: Opened) -> None:
        async def told(*policies: PolicyText, by: Opened = opened) -> None:
            await by.rows.audit.record_policies(policies, at=NOW)

        first, other = a_policy("strict"), a_policy("other", licenses=["mit"])
        await told(first, other)
        await told(first, other, by=again)
        second = a_policy("strict", generation=2, mode="Audit")
        await told(replace(second, via="kubectl-edit"), other)
        assert await again.rows.audit.policies() == {"strict": second, "other": other}
        made_anew = a_policy("strict", uid="b", mode="Audit")
        await told(made_anew, other)
        await told(made_anew, by=again)
        records = await records_of(opened)
        assert [(each.fact.name, each.fact.reason) for each in records] == [
            ("other", "PolicyAdded"),
            ("strict", "PolicyAdded"),
            ("strict", "PolicyChanged"),
            ("strict", "PolicyDeleted"),
            ("strict", "PolicyAdded"),
            ("other", "PolicyDeleted"),
        ]
        changed = records[2].fact
        assert (changed.actor, changed.message) == ("unknown", "generation 1 to 2, written with kubectl-edit")
        assert changed.before == {"uid": "a", "generation": 1, "sha256": first.sha256, "spec": {"mode": "Enforce"}}
        assert changed.after["sha256"] == hashlib.sha256(b'{"mode":"Audit"}').hexdigest()
        assert changed.after["via"] == "kubectl-edit"
        assert look(opened).intact

    async def test_to_tell_of_policies_again_writes_nothing(self, opened: Opened) -> None:
        policies = [a_policy(f"p-{number}") for number in range(3)]
        await opened.rows.audit.record_policies(policies, at=NOW)
        opened.counts.rows.clear()
        await opened.rows.audit.record_policies(policies, at=NOW + timedelta(days=1))
        assert not opened.counts.rows
        await opened.rows.audit.record_policies(policies[1:], at=NOW)
        assert opened.counts.rows == {"audited_policies": 1, "audit_records": 1, "audit_heads": 1}

    async def test_a_policy_that_is_too_long_is_told_by_its_hash(self, opened: Opened) -> None:
        long = a_policy("long", rules=["x" * 9_000])
        await opened.rows.audit.record_policies([long], at=NOW)
        await opened.rows.audit.record_policies([], at=NOW)
        for record in await records_of(opened):
            told = {**record.fact.before, **record.fact.after}
            assert told["spec"] == {"sha256": long.sha256, "bytes": len(long.spec)}
            assert told["sha256"] == long.sha256

    async def test_further_facts_come_after_the_row_s_own(self, opened: Opened) -> None:
        facts = [a_fact(1, at=NOW), a_fact(2, at=NOW - timedelta(days=1), reason="Revoked")]
        ids = await opened.rows.save_version(a_version(), files=None, change=a_change(), facts=facts)
        await opened.rows.save_version(a_version(id=ids.version_id), files=None, change=None, facts=[a_fact(3)])
        records = await records_of(opened)
        assert [record.fact.reason for record in records] == [
            "Registered",
            "Verified",
            "Approved",
            "Revoked",
            "Approved",
        ]
        assert [records[2].fact, records[3].fact] == facts
        verdict = look(opened)
        assert verdict.intact
        assert "a clock was wrong" in verdict.notes[0]

    async def test_very_many_facts_of_one_version_are_all_recorded(self, opened: Opened) -> None:
        facts = [a_fact(number) for number in range(1_500)]
        governance = "{" + "x" * 3_000_000 + "}"
        await opened.rows.save_version(a_version(governance=governance), files=None, change=a_change(), facts=facts)
        records = await records_of(opened)
        assert [record.fact for record in records[2:]] == facts
        assert (await load(opened.rows)).governance == governance
        assert not [each for each in look(opened).findings if each.kind != "Unsigned"]

    async def test_governance_passes_through(self, opened: Opened) -> None:
        ids = await opened.rows.save_version(a_version(governance='{"policies":["ü"]}'), files=None, change=None)
        assert (await load(opened.rows)).governance == '{"policies":["ü"]}'
        await opened.rows.save_version(a_version(id=ids.version_id), files=None, change=None)
        assert (await load(opened.rows)).governance is None

    async def test_what_is_refused_leaves_no_record(self, opened: Opened) -> None:
        ids = await opened.rows.save_version(a_version(), files=None, change=a_change())
        before = await opened.rows.audit.standing()
        for record in (a_version(id=ids.version_id, digest=OTHER_DIGEST), a_version(2, id=77)):
            with pytest.raises(Exception, match="version"):
                await opened.rows.save_version(record, files=None, change=a_change(), facts=[a_fact()])
        assert await opened.rows.audit.standing() == before

    async def test_saving_again_appends_nothing(self, opened: Opened) -> None:
        save = opened.rows.save_version
        ids = await save(a_version(phase="Verifying"), files=None, change=a_change(None, "Verifying"))
        await save(a_version(phase="Verifying"), files=None, change=a_change(None, "Verifying"))
        for _ in range(2):
            await save(a_version(id=ids.version_id), files=None, change=a_change("Verifying"))
            await opened.rows.save_model(a_model(uid="", spec="{}"))
        assert reasons(await records_of(opened)) == [
            ("RegisteredModel", "Registered"),
            ("ModelVersion", "Verified"),
            ("ModelVersion", "Verified"),
        ]

    async def test_a_commit_whose_answer_was_lost_appends_once(self, opened: Opened) -> None:
        """The transaction runs twice: the first time everything but the answer gets through."""
        ids = await opened.rows.save_version(a_version(), files=None, change=a_change())
        (database,) = opened.databases._databases.values()
        engine = database._connector.engine
        lost: list[Any] = []

        def lose(connection: Any) -> None:
            if not lost:
                lost.append(connection)
                connection.connection.dbapi_connection.commit()
                raise ConnectionResetError(104, "reset")

        event.listen(engine, "commit", lose)
        try:
            await asyncio.gather(
                *(
                    opened.rows.save_version(
                        a_version(n, id=ids.version_id if n == 1 else None),
                        files=None,
                        change=None if n == 1 else a_change(),
                        facts=[a_fact(n), a_fact(n, reason="Noted")],
                    )
                    for n in range(1, 20)
                )
            )
        finally:
            event.remove(engine, "commit", lose)
        assert len(lost) == 1
        records = await records_of(opened)
        assert len([record for record in records if record.fact.reason in {"Approved", "Noted"}]) == 38
        assert len(records) == 2 + 38 + 18
        assert opened.count(history) == 19
        assert look(opened).intact

    @pytest.mark.parametrize("count", [1, 20, 200])
    async def test_a_batch_writes_one_head_and_a_record_each(self, opened: Opened, count: int) -> None:
        await opened.rows.save_model(a_model())
        opened.counts.rows.clear()
        transactions = opened.counts.transactions
        await asyncio.gather(
            *(opened.rows.save_version(a_version(n), files=None, change=a_change()) for n in range(count))
        )
        assert opened.counts.transactions == transactions + 1
        assert opened.counts.rows["audit_heads"] == 1
        assert opened.counts.rows["audit_records"] == count

    async def test_two_operators_at_once_make_one_chain(self, opened: Opened, again: Opened) -> None:
        async def save(of: Opened, number: int) -> None:
            while True:
                try:
                    await of.rows.save_version(a_version(number), files=None, change=a_change())
                except Transient as error:
                    assert error.reason in {"RowConflict", "DatabaseContention"}  # noqa: PT017
                else:
                    return

        await asyncio.gather(
            *(save(opened, number) for number in range(100)), *(save(again, number) for number in range(100, 200))
        )
        verdict = look(opened)
        assert verdict.intact
        assert verdict.records == 201

    async def test_registries_in_one_database_have_chains_of_their_own(self, opened: Opened) -> None:
        from gatehouse.registry.rows import Rows

        (database,) = opened.databases._databases.values()
        other = Rows(registry="registries/other", database=database, now=lambda: NOW)
        await asyncio.gather(
            *(opened.rows.save_version(a_version(n), files=None, change=a_change()) for n in range(5)),
            *(other.save_version(a_version(n), files=None, change=a_change()) for n in range(5)),
        )
        for rows in (opened.rows, other):
            assert [row.seq for row in await rows.audit.records(after=0, limit=100)] == [1, 2, 3, 4, 5, 6]

    # Checkpoints and retention

    async def test_a_checkpoint_of_another_trail_is_not_kept(self, opened: Opened) -> None:
        (first, second) = await grown(opened, 8)
        await opened.rows.audit.save_checkpoint(second)
        for wrong in (
            SIGNER.checkpoint(REGISTRY, AuditHead(8, "0" * 64), at=NOW, previous=second),
            SIGNER.checkpoint(REGISTRY, AuditHead(9, "0" * 64), at=NOW, previous=second),
            SIGNER.checkpoint(
                REGISTRY, AuditHead(7, chain([a_fact(n) for n in range(1, 8)])[-1].hash), at=NOW, previous=first
            ),
        ):
            with pytest.raises(Transient, match="is not saved"):
                await opened.rows.audit.save_checkpoint(wrong)
        standing = await opened.rows.audit.standing()
        assert standing.checkpoint == second
        assert standing.head is not None
        assert standing.head.checkpoint == 8
        assert look(opened).intact

    async def test_copies_are_kept_in_mind(self, opened: Opened) -> None:
        signed = await grown(opened, 8)
        audit = opened.rows.audit
        assert list(await audit.checkpoints_to_copy(uri="s3://a/", limit=10)) == signed
        await audit.mark_copied([4], uri="s3://a/")
        assert list(await audit.checkpoints_to_copy(uri="s3://a/", limit=10)) == signed[1:]
        assert list(await audit.checkpoints_to_copy(uri="s3://b/", limit=1)) == signed[:1]

    async def test_old_records_are_summarised_and_the_rest_verifies(self, opened: Opened) -> None:
        await grown(opened, 10)
        rows = await opened.rows.audit.records(after=0, limit=100)
        at_nine = Summary(registry=REGISTRY, to=9, hash=rows[8].hash)
        assert await opened.rows.audit.summarise(at_nine, signer=SIGNER, at=NOW) == 0, "no checkpoint covers it yet"
        for to in (5, 8):
            summary = Summary(registry=REGISTRY, to=to, hash=rows[to - 1].hash)
            assert await opened.rows.audit.summarise(summary, signer=SIGNER, at=NOW) == {5: 5, 8: 3}[to]
            assert await opened.rows.audit.summarise(summary, signer=SIGNER, at=NOW) == 0, "it is done already"
            verdict = look(opened)
            assert verdict.intact
            assert (verdict.first, verdict.summarised, verdict.last) == (to + 1, to, 11 if to == 5 else 12)
        opened.run(delete(audit_records).where(_R.seq <= 9))
        assert found(look(opened)) == ("Removed", 1)

    # Attacks by SQL

    async def test_an_edited_record_is_found(self, opened: Opened) -> None:
        await grown(opened, 10)
        ((content,),) = opened.run(select(_R.content).where(_R.seq == 6))
        opened.run(update(audit_records).where(_R.seq == 6).values(content=content.replace("alice", "mallory")))
        assert found(look(opened)) == ("Changed", 6)

    async def test_an_edited_record_with_its_hash_is_found(self, opened: Opened) -> None:
        await grown(opened, 10)
        row = (await opened.rows.audit.records(after=5, limit=1))[0]
        forged = rehashed(row, actor="mallory")
        opened.run(update(audit_records).where(_R.seq == 6).values(content=forged.content, hash=forged.hash))
        assert found(look(opened)) == ("Changed", 6)

    async def test_a_deleted_record_is_found(self, opened: Opened) -> None:
        await grown(opened, 10)
        opened.run(delete(audit_records).where(_R.seq == 6))
        assert found(look(opened)) == ("Removed", 6)

    async def test_a_deleted_record_is_found_when_the_others_close_up(self, opened: Opened) -> None:
        await grown(opened, 10)
        opened.run(delete(audit_records).where(_R.seq == 6))
        for seq in range(7, 11):
            opened.run(update(audit_records).where(_R.seq == seq).values(seq=seq - 1))
        assert found(look(opened)) == ("Moved", 6)

    async def test_an_inserted_record_is_found(self, opened: Opened) -> None:
        await grown(opened, 10)
        rows = await opened.rows.audit.records(after=0, limit=100)
        (forged,) = chain([a_fact(actor="mallory")], after=AuditHead(5, rows[4].hash))
        for seq in range(10, 5, -1):
            opened.run(update(audit_records).where(_R.seq == seq).values(seq=seq + 1))
        opened.run(insert(audit_records).values(registry=REGISTRY, **forged._asdict()))
        opened.run(update(audit_heads).values(seq=11))
        assert found(look(opened)) == ("Inserted", 6)

    @pytest.mark.parametrize("seq", [-5, 0, 11])
    async def test_a_record_beside_the_chain_is_found(self, opened: Opened, seq: int) -> None:
        await grown(opened, 10)
        rows = await opened.rows.audit.records(after=9, limit=1)
        (forged,) = chain([a_fact(actor="mallory")], after=AuditHead(10, rows[0].hash))
        opened.run(insert(audit_records).values(registry=REGISTRY, seq=seq, content=forged.content, hash=forged.hash))
        assert found(look(opened)) == ("Inserted", seq)

    async def test_swapped_records_are_found(self, opened: Opened) -> None:
        await grown(opened, 10)
        for before, after in ((6, 100), (7, 6), (100, 7)):
            opened.run(update(audit_records).where(_R.seq == before).values(seq=after))
        assert found(look(opened)) == ("Moved", 6)

    async def test_a_trail_cut_off_at_the_end_is_found(self, opened: Opened) -> None:
        await grown(opened, 10)
        opened.run(delete(audit_records).where(_R.seq > 7))
        assert found(look(opened)) == ("CutOff", 8)
        ((hash_,),) = opened.run(select(_R.hash).where(_R.seq == 7))
        opened.run(update(audit_heads).values(seq=7, hash=hash_))
        assert found(look(opened)) == ("CutOff", 8), "checkpoint 8 tells"

    async def test_a_trail_that_is_gone_is_found(self, opened: Opened) -> None:
        await grown(opened, 10)
        opened.run(delete(audit_records))
        assert found(look(opened)) == ("CutOff", 1)
        opened.run(delete(audit_heads))
        assert found(look(opened)) == ("CutOff", 1)

    async def test_a_recomputed_trail_is_found(self, opened: Opened) -> None:
        signed = await grown(opened, 10)
        rows = list(await opened.rows.audit.records(after=0, limit=100))
        rows[5] = rehashed(rows[5], actor="mallory")
        for row in recomputed(rows, 5):
            opened.run(update(audit_records).where(_R.seq == row.seq).values(content=row.content, hash=row.hash))
        opened.run(update(audit_heads).values(hash=recomputed(rows, 5)[-1].hash))
        assert found(look(opened)) == ("Replaced", 5)
        opened.run(delete(audit_checkpoints).where(_C.seq == 8))
        opened.run(update(audit_heads).values(checkpoint=4))
        assert look(opened).intact, "who also deletes the checkpoint is not found by the database alone"
        assert found(look(opened, copies=signed)) == ("Replaced", 5)

    async def test_a_checkpoint_moved_to_the_recomputed_trail_is_found(self, opened: Opened) -> None:
        await grown(opened, 10)
        rows = list(await opened.rows.audit.records(after=0, limit=100))
        rows[5] = rehashed(rows[5], actor="mallory")
        for row in recomputed(rows, 5):
            opened.run(update(audit_records).where(_R.seq == row.seq).values(content=row.content, hash=row.hash))
            opened.run(update(audit_checkpoints).where(_C.seq == row.seq).values(hash=row.hash))
        opened.run(update(audit_heads).values(hash=recomputed(rows, 5)[-1].hash))
        assert {finding.kind for finding in look(opened).findings} == {"CheckpointForged", "CheckpointRemoved"}

    async def test_deleted_checkpoints_are_found(self, opened: Opened) -> None:
        signed = await grown(opened, 10)
        opened.run(delete(audit_checkpoints).where(_C.seq == 4))
        assert found(look(opened)) == ("CheckpointRemoved", 4)
        opened.run(delete(audit_checkpoints))
        assert found(look(opened)) == ("CheckpointRemoved", 8)
        assert found(look(opened, copies=signed)) == ("CheckpointRemoved", 4)

    async def test_rows_changed_behind_the_trail_s_back_show_in_the_next_record(self, opened: Opened) -> None:
        """The trail says what the row was: who changes the row alone is told by the next record's ``before``."""
        ids = await opened.rows.save_version(a_version(), files=None, change=a_change())
        opened.run(update(model_versions).values(phase="Rejected"))
        record = replace(await load(opened.rows), phase="Deprecated", id=ids.version_id)
        await opened.rows.save_version(record, files=None, change=None)
        assert (await records_of(opened))[-1].fact.before == {"phase": "Rejected"}
