"""``gatehouse audit`` on a database in a file."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from sqlalchemy import delete, text, update
from typer.testing import CliRunner, Result

from auditcontract import a_policy, grown
from gatehouse.cli.main import app
from gatehouse.controllers.audit import copy_key
from gatehouse.domain.audit.checkpoints import Checkpoint, checkpoint_json
from gatehouse.domain.common.errors import Stalled, Transient
from gatehouse.registry.address import Target, target_of_url
from gatehouse.registry.drivers import mysql
from gatehouse.registry.keys import VersionKey
from gatehouse.registry.readers import load_version_rows, open_trails
from gatehouse.registry.rows import Rows
from gatehouse.registry.schema import HEAD
from gatehouse.registry.tables import VERSION_TABLE, audit_checkpoints, audit_heads, audit_records
from registrycontract import NOW, Opened, open_file
from trails import PUBLIC_PEM, REGISTRY, a_fact, recomputed, rehashed


@pytest.fixture
async def opened(tmp_path: Path) -> AsyncIterator[Opened]:
    opened = await open_file(tmp_path)
    yield opened
    await opened.databases.aclose()


@pytest.fixture
def key(tmp_path: Path) -> Path:
    file = tmp_path / "audit.pub"
    file.write_bytes(PUBLIC_PEM)
    return file


@pytest.fixture
def no_copies(tmp_path: Path) -> Path:
    (tmp_path / "copies").mkdir()
    (tmp_path / "copies" / "1.json").write_text("{}")
    return tmp_path / "copies"


def run(tmp_path: Path, *arguments: object, url: str | None = None) -> Result:
    environ = {"GATEHOUSE_DATABASE_URL": url or f"sqlite:///{tmp_path / 'registries.local.db'}", "COLUMNS": "200"}
    with ThreadPoolExecutor(1) as thread:  # as a process of its own, without this test's loop
        return thread.submit(CliRunner().invoke, app, ["audit", *map(str, arguments)], env=environ).result()


def document(result: Result) -> Any:
    return orjson.loads(result.stdout)


def put_copies(folder: Path, checkpoints: Sequence[Checkpoint]) -> Path:
    for checkpoint in checkpoints:
        file = folder / copy_key(checkpoint)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(checkpoint_json(checkpoint))
    return folder


async def test_an_intact_trail_ends_with_0(opened: Opened, tmp_path: Path, key: Path) -> None:
    copies = put_copies(tmp_path / "copies", await grown(opened, 10))
    result = run(tmp_path, "verify", "--public-key", key, "--checkpoints", copies)
    assert result.exit_code == 0
    assert "intact  registries/local" in result.stdout
    assert "10 records checked, 1 to 10; 2 checkpoints agree, the newest at 8" in result.stdout
    found = document(run(tmp_path, "verify", "-o", "json"))
    assert (found["intact"], found["records"], found["vouched"], found["firstBad"]) == (True, 10, 8, None)
    assert [note.partition(";")[0] for note in found["notes"]][-2:] == [
        "signatures were not verified",
        "checkpoints come from the database alone",
    ]


async def test_a_broken_trail_ends_with_1_and_the_first_bad_position(opened: Opened, tmp_path: Path) -> None:
    await grown(opened, 10)
    opened.run(delete(audit_records).where(audit_records.c.seq == 6))
    result = run(tmp_path, "verify")
    assert result.exit_code == 1
    assert "record 6: Removed" in result.stdout
    assert "Restore the database from a backup" in result.stdout
    result = run(tmp_path, "verify", "-o", "json")
    assert result.exit_code == 1
    first = document(result)["firstBad"]
    assert (first["kind"], first["position"], first["until"]) == ("Removed", 6, 6)


async def test_copies_tell_of_a_trail_replaced_with_its_checkpoints(opened: Opened, tmp_path: Path, key: Path) -> None:
    copies = put_copies(tmp_path / "copies", await grown(opened, 10))
    rows = list(await opened.rows.audit.records(after=0, limit=100))
    rows[1] = rehashed(rows[1], actor="mallory")
    for row in recomputed(rows, 1):
        values = {"content": row.content, "hash": row.hash}
        opened.run(update(audit_records).where(audit_records.c.seq == row.seq).values(values))
    opened.run(update(audit_heads).values(hash=recomputed(rows, 1)[-1].hash, checkpoint=0))
    opened.run(delete(audit_checkpoints))
    assert run(tmp_path, "verify", "--public-key", key).exit_code == 0
    result = run(tmp_path, "verify", "--public-key", key, "--checkpoints", copies, "-o", "json")
    assert result.exit_code == 1
    assert document(result)["firstBad"]["kind"] == "Replaced"
    assert document(result)["firstBad"]["position"] == 1


async def test_a_trail_that_is_gone_altogether_is_found_by_its_copies(
    opened: Opened, tmp_path: Path, key: Path
) -> None:
    copies = put_copies(tmp_path / "copies", await grown(opened, 10))
    for table in (audit_records, audit_heads, audit_checkpoints):
        opened.run(delete(table))
    result = run(tmp_path, "verify")
    assert result.exit_code == 2
    assert "the database has no record of any registry yet" in result.stderr
    arguments = ("verify", "--registry", REGISTRY, "--public-key", key, "--checkpoints", copies, "-o", "json")
    result = run(tmp_path, *arguments)
    assert result.exit_code == 1
    assert ("CutOff", 1) in [(each["kind"], each["position"]) for each in document(result)["findings"]]


async def test_the_log_is_filtered(opened: Opened, tmp_path: Path) -> None:
    audit = opened.rows.audit
    await audit.append([a_fact(number, at=NOW + timedelta(hours=number)) for number in range(5)])
    odd = a_fact(7, kind="ModelVersion", model='odd "model" 50%_\\', message="\x1b[31mred [bold]", version="v1")
    await audit.append([odd])

    def seqs(*arguments: object) -> list[int]:
        result = run(tmp_path, "log", "-o", "json", *arguments)
        assert result.exit_code == (0 if document(result) else 1)
        return [each["seq"] for each in document(result)]

    assert seqs() == [1, 2, 3, 4, 5, 6]
    assert seqs("--limit", 2) == [5, 6]
    assert seqs("--version", "v1") == [2, 6]
    assert seqs("--version", "v1", "--model", "granite") == [2]
    assert seqs("--model", odd.model) == [6]
    assert seqs("--kind", "ModelVersion") == [6]
    assert seqs("--kind", "ModelEvaluation") == []
    assert seqs("--name", odd.name) == [6]
    assert seqs("--name", odd.name, "--kind", "ModelApproval") == []
    assert seqs("--since", (NOW + timedelta(hours=3)).isoformat()) == [4, 5]
    assert seqs("--registry", REGISTRY, "--since", "2026-11-21") == [1, 2, 3, 4, 5, 6]
    table = run(tmp_path, "log").stdout
    assert "alice" in table
    assert "\x1b" not in table
    assert "red [bold]" in table


async def test_the_log_of_a_policy(opened: Opened, tmp_path: Path) -> None:
    audit = opened.rows.audit
    await audit.record_policies([a_policy("strict"), a_policy("other")], at=NOW)
    await audit.append([a_fact(1, kind="GovernancePolicy", name="strict", reason="PolicyDenies", version="v1")])
    await audit.record_policies([a_policy("strict", generation=2, mode="Audit")], at=NOW)
    result = run(tmp_path, "log", "-o", "json", "--kind", "GovernancePolicy", "--name", "strict")
    assert [each["reason"] for each in document(result)] == ["PolicyAdded", "PolicyDenies", "PolicyChanged"]
    assert "GovernancePolicy strict " in run(tmp_path, "log").stdout


async def test_several_registries_want_one_named(opened: Opened, tmp_path: Path) -> None:
    (database,) = opened.databases._databases.values()
    other = Rows(registry="registries/other", database=database, now=lambda: NOW)
    await opened.rows.audit.append([a_fact()])
    await other.audit.append([a_fact()])
    result = run(tmp_path, "verify")
    assert result.exit_code == 2
    assert "the trails of registries/local, registries/other; name one with --registry" in result.stderr
    assert run(tmp_path, "verify", "--registry", "registries/other").exit_code == 0
    assert run(tmp_path, "verify", "--registry", "nobody/s").exit_code == 2


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("sqlite:////nowhere/at.db", "there is no database file /nowhere/at.db"),
        ("oracle://user:the-secret-word@host/db", "is for oracle or names no host or database"),
        ("mysql+pymysql://user:the-secret-word@127.0.0.1:1/db", "cannot be reached"),
        ("the-secret-word", "the database's URL is malformed"),
    ],
)
def test_what_is_no_database_is_an_error_without_its_password(tmp_path: Path, url: str, said: str) -> None:
    result = run(tmp_path, "verify", url=url)
    assert result.exit_code == 2
    assert said in result.stderr
    assert "the-secret-word" not in result.output


async def test_a_database_that_misses_a_table_is_an_error_that_names_it(opened: Opened, tmp_path: Path) -> None:
    opened.run(text("DROP TABLE audit_records"))
    result = run(tmp_path, "verify")
    assert result.exit_code == 2
    assert "lacks a table" in result.stderr
    assert "audit_records" in result.stderr


def test_a_database_of_somebody_else_is_an_error_that_says_so(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "other.db") as other:
        other.execute("CREATE TABLE things (id INTEGER)")
    result = run(tmp_path, "verify", url=f"sqlite:///{tmp_path / 'other.db'}")
    assert result.exit_code == 2
    assert "has no tables of Gatehouse" in result.stderr
    assert "Name the database of a registry" in result.stderr


@pytest.mark.parametrize(
    ("revision", "said"),
    [
        pytest.param("0002", "Start the operator of this version, which migrates them", id="older"),
        pytest.param("9999", "revision 9999, this Gatehouse knows revisions up to", id="newer"),
        pytest.param(HEAD, "no such column", id="somebody else's doing"),
    ],
)
async def test_tables_of_another_revision_are_told_from_broken_ones(
    opened: Opened, tmp_path: Path, revision: str, said: str
) -> None:
    await grown(opened, 1)
    opened.run(text("ALTER TABLE audit_records RENAME COLUMN content TO contents"))
    opened.run(text(f"UPDATE {VERSION_TABLE} SET version_num = '{revision}'"))  # noqa: S608 - constants
    result = run(tmp_path, "verify")
    assert result.exit_code == 2
    assert said in result.stderr


async def test_rows_of_another_revision_are_told_from_broken_ones(opened: Opened, tmp_path: Path) -> None:
    opened.run(text("ALTER TABLE artifact_files DROP COLUMN source"))
    opened.run(text(f"UPDATE {VERSION_TABLE} SET version_num = '0002'"))  # noqa: S608 - a constant
    target = target_of_url(f"sqlite:///{tmp_path / 'registries.local.db'}", data_dir=tmp_path)
    with pytest.raises(Stalled, match=f"of a revision before {HEAD}"):
        load_version_rows(target, [VersionKey(REGISTRY, "granite", "1")])


def test_a_database_that_does_not_answer_is_not_asked_for_its_revision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Target] = []
    connect = mysql.connect

    def counted(target: Target) -> Any:
        asked.append(target)
        return connect(target)

    monkeypatch.setattr(mysql, "connect", counted)
    target = target_of_url("mysql+pymysql://gatehouse:x@127.0.0.1:1/gatehouse", data_dir=tmp_path)
    with pytest.raises(Transient, match="Database"):
        load_version_rows(target, [VersionKey(REGISTRY, "granite", "1")])
    with pytest.raises(Transient, match="Database"), open_trails(target):
        raise AssertionError("nothing was opened")
    assert asked == [target, target]


async def test_what_is_no_key_and_no_copy_is_an_error(opened: Opened, tmp_path: Path, no_copies: Path) -> None:
    await grown(opened, 1)
    assert run(tmp_path, "verify", "--public-key", tmp_path / "registries.local.db").exit_code == 2
    assert run(tmp_path, "verify", "--checkpoints", tmp_path / "nowhere").exit_code == 2
    result = run(tmp_path, "verify", "--checkpoints", no_copies)
    assert result.exit_code == 2
    assert "is not a checkpoint" in result.stderr
