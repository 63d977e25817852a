"""`gatehouse diff`: what differs between two versions, from their objects and from the registry's rows."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import Result

import worlds
from cluster.desk import AUTHOR, Desk, make_desk, pending
from gatehouse.api.model_registry import ModelRegistry
from gatehouse.domain.version.records import FileRecord, StateChange
from gatehouse.registry.pool import DatabasePool
from gatehouse_local.ephemeral import RunningControlPlane
from gatehouse_local.s3 import S3Endpoint, open_store


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


async def _fill(desk: Desk, folder: Path, stored: Mapping[str, Sequence[FileRecord]] | None = None) -> None:
    databases = DatabasePool(data_dir=folder)
    registry = ModelRegistry.model_validate({"metadata": {"name": "registry", "namespace": desk.namespace}})
    rows = await databases.open(registry, password=None, ca_pem=None)
    for number, template in ((1, "a"), (2, "b")):
        name = f"granite-{number}"
        row = worlds.row(id=None, model_id=None, version=name, object_name=name, namespace=desk.namespace, uid=name)
        files = (stored or {}).get(name) or [
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


STEERING = {
    "granite-1": {
        "config.json": b'{"hidden_size": 8}',
        "generation_config.json": b'{"temperature": 1}',
        "chat_template.jinja": b"you are kind",
        "model.safetensors": b"not read",
    },
    "granite-2": {
        "config.json": b'{"hidden_size":8}',
        "generation_config.json": b'{"temperature": 2}',
        "chat_template.jinja": b"you are kind\nobey carol",
        "model.safetensors": b"not read either",
    },
}


@pytest.fixture
def stored(
    desk: Desk, minio: S3Endpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[str, Callable[[str, bytes], None]]]:
    """The registry's database with rows of both versions whose files are in a store that the person may read."""
    with contextlib.closing(open_store(minio)) as store:
        bucket = desk.namespace
        store.create_bucket(Bucket=bucket)

        def put(key: str, data: bytes) -> None:
            store.put_object(Bucket=bucket, Key=key, Body=data)

        files: dict[str, list[FileRecord]] = {}
        for name, contents in STEERING.items():
            for path, data in contents.items():
                etag = store.put_object(Bucket=bucket, Key=f"{name}/{path}", Body=data)["ETag"]
                sha256 = hashlib.sha256(data).hexdigest()
                files.setdefault(name, []).append(FileRecord(path=path, size=len(data), etag=etag, sha256=sha256))
            uri = f"s3://{bucket}/{name}/"
            status = pending(registry=f"{desk.namespace}/registry")
            desk.version(f"stored-{name}", status=status, version=name, artifact={"uri": uri})
        asyncio.run(_fill(desk, tmp_path, files))
        (file,) = tmp_path.glob("*.db")
        for key, value in {
            "AWS_ENDPOINT_URL": minio.url,
            "AWS_REGION": minio.region,
            "AWS_ACCESS_KEY_ID": minio.credentials.access_key,
            "AWS_SECRET_ACCESS_KEY": minio.credentials.secret_key,
            "AWS_CONFIG_FILE": str(tmp_path / "none"),
            "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none"),
        }.items():
            monkeypatch.setenv(key, value)
        yield f"sqlite:///{file}", put


def compare_contents(desk: Desk, database: str) -> Result:
    return desk.run(
        "diff",
        "stored-granite-1",
        "stored-granite-2",
        "--contents",
        "-o",
        "json",
        f"--database={database}",
        user=AUTHOR,
    )


def test_contents_show_what_changed_in_what_steers_a_model(
    desk: Desk, stored: tuple[str, Callable[[str, bytes], None]]
) -> None:
    said = compare_contents(desk, stored[0])
    assert said.exit_code == 1, said.output
    found = {each["path"]: each for each in json.loads(said.stdout)["contents"]}
    assert set(found) == {"config.json", "generation_config.json", "chat_template.jinja"}
    assert found["config.json"]["problem"] == "the bytes differ, but the text does not"
    assert '-  "temperature": 1\n+  "temperature": 2' in found["generation_config.json"]["diff"]
    assert "\n+obey carol" in found["chat_template.jinja"]["diff"]
    shown = desk.run(
        "diff", "stored-granite-1", "stored-granite-2", "--contents", f"--database={stored[0]}", user=AUTHOR
    )
    assert "\n+obey carol\n" in shown.stdout


def test_contents_that_are_not_what_was_verified_are_not_shown(
    desk: Desk, stored: tuple[str, Callable[[str, bytes], None]]
) -> None:
    database, put = stored
    put("granite-2/chat_template.jinja", b"what was approved")
    found = {each["path"]: each for each in json.loads(compare_contents(desk, database).stdout)["contents"]}
    assert "another file" in found["chat_template.jinja"]["problem"]
    assert found["chat_template.jinja"]["diff"] == ""
    assert found["generation_config.json"]["diff"]


def test_contents_want_the_database_and_credentials(
    desk: Desk, stored: tuple[str, Callable[[str, bytes], None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    without = desk.run("diff", "stored-granite-1", "stored-granite-2", "--contents", user=AUTHOR)
    assert (without.exit_code, "--contents requires --database" in without.stderr) == (2, True), without.output
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    refused = compare_contents(desk, stored[0])
    assert (refused.exit_code, "the files cannot be read" in refused.stderr) == (2, True), refused.output


def test_a_database_without_the_row_or_none_at_all_ends_with_what_is_wanted(desk: Desk, database: str) -> None:
    desk.version("granite-3", status=pending(registry=f"{desk.namespace}/registry"))
    without = desk.run("diff", "granite-1", "granite-3", f"--database={database}", user=AUTHOR)
    assert without.exit_code == 2
    assert f"the database has no row of {desk.namespace}/granite-3" in without.stderr
    none = desk.run("diff", "granite-1", "granite-3", "--database=sqlite:////nowhere.db", user=AUTHOR)
    assert (none.exit_code, "there is no database file" in none.stderr) == (2, True), none.output
