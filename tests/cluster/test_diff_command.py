"""`gatehouse diff`: what differs between two versions, from their objects and from the registry's rows."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

import worlds
from cluster.desk import AUTHOR, Desk, make_desk, pending
from gatehouse.api.model_registry import ModelRegistry
from gatehouse.domain.records import FileRecord, StateChange
from gatehouse.local.ephemeral import RunningControlPlane
from gatehouse.registry.databases import Databases


@pytest.fixture
def desk(control_plane: RunningControlPlane) -> Iterator[Desk]:
    with make_desk(control_plane) as made:
        for name, length in (("granite-1", 8), ("granite-2", 16)):
            status = pending(registry=f"{made.namespace}/registry")
            made.version(name, status=status, serving={"maxModelLen": length})
        yield made


@pytest.fixture
def database(desk: Desk, tmp_path: Path) -> str:
    """The registry's database with a row and files of both versions."""
    asyncio.run(_fill(desk, tmp_path))
    (file,) = tmp_path.glob("*.db")
    return f"sqlite:///{file}"


async def _fill(desk: Desk, folder: Path) -> None:
    databases = Databases(data_dir=folder)
    registry = ModelRegistry.model_validate({"metadata": {"name": "registry", "namespace": desk.namespace}})
    rows = await databases.open(registry, password=None, ca_pem=None)
    for number, template in ((1, "a"), (2, "b")):
        name = f"granite-{number}"
        row = worlds.row(id=None, model_id=None, version=name, object_name=name, namespace=desk.namespace, uid=name)
        files = [
            FileRecord(path="chat_template.jinja", size=1, etag="e", sha256=template * 64),
            FileRecord(path="model.safetensors", size=1, etag="e", sha256="c" * 64),
        ]
        change = StateChange(
            at=datetime.now(UTC), actor="test", before=None, after=row.phase, digest=None, reason="R", message=""
        )
        await rows.save_version(row, files=files, change=change)
    await databases.aclose()


def test_objects_are_compared_and_what_is_not_is_said(desk: Desk) -> None:
    said = desk.run("diff", "granite-1", "granite-2", "-o", "json", user=AUTHOR)
    assert said.exit_code == 1, said.output
    found = json.loads(said.stdout)
    assert (found["a"], found["b"]) == (f"{desk.namespace}/granite-1", f"{desk.namespace}/granite-2")
    assert found["differences"] == {
        "version": [{"field": "version", "a": "granite-1", "b": "granite-2"}],
        "serving": [{"field": "maxModelLen", "a": 8, "b": 16}],
        "artifact": [{"field": "uri", "a": "s3://models/granite-1/", "b": "s3://models/granite-2/"}],
    }
    assert "tokenizer" not in found["compared"]
    assert "compare them with --database" in said.stderr
    same = desk.run("diff", "granite-1", f"{desk.namespace}/granite-1", user=AUTHOR)
    assert (same.exit_code, "the same: version, lineage" in same.stdout) == (0, True), same.output


def test_rows_tell_of_the_tokenizer_and_the_files(desk: Desk, database: str) -> None:
    said = desk.run("diff", "granite-1", "granite-2", "-o", "json", f"--database={database}", user=AUTHOR)
    assert said.exit_code == 1, said.output
    found = json.loads(said.stdout)
    assert {"config", "tokenizer", "files"} <= set(found["compared"])
    assert found["differences"]["tokenizer"] == [
        {"field": "chat_template.jinja", "a": "sha256:" + "a" * 64, "b": "sha256:" + "b" * 64}
    ]
    assert not {"config", "files"} & set(found["differences"])
    shown = desk.run("diff", "granite-1", "granite-2", f"--database={database}", user=AUTHOR)
    assert "    + sha256:" + "b" * 64 in shown.stdout
    assert shown.stderr == ""


def test_a_database_without_the_row_or_none_at_all_ends_with_what_is_wanted(desk: Desk, database: str) -> None:
    desk.version("granite-3", status=pending(registry=f"{desk.namespace}/registry"))
    without = desk.run("diff", "granite-1", "granite-3", f"--database={database}", user=AUTHOR)
    assert without.exit_code == 2
    assert f"the database has no row of {desk.namespace}/granite-3" in without.stderr
    none = desk.run("diff", "granite-1", "granite-3", "--database=sqlite:////nowhere.db", user=AUTHOR)
    assert (none.exit_code, "there is no database file" in none.stderr) == (2, True), none.output
