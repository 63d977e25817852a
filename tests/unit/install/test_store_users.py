"""The users of the shipped MinIO: the file, the keys in folders, and the wait for MinIO."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from gatehouse.cli.main import app
from gatehouse.install.errors import CredentialsInvalid, NotComplete
from gatehouse.install.store_users import ensure_when_ready, load_store_users, read_users
from gatehouse.storage.s3.users import StoreAdministrator, StoreUser, UsersNotReady, UsersRefused
from runtime.fakes import FakeClock

ROOT_PASSWORD, KEY = "the-root-password", "0123456789abcdef"


def folder(at: Path, **files: str) -> Path:
    at.mkdir(parents=True)
    for name, content in files.items():
        (at / name.replace("__", "-")).write_text(content)
    return at


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    """The Secrets as a Pod has them."""
    folder(tmp_path / "root", root__user="gatehouse", root__password=ROOT_PASSWORD)
    for name in ("operator", "uploader"):
        folder(tmp_path / name, AWS_ACCESS_KEY_ID=f"gatehouse-{name}\n", AWS_SECRET_ACCESS_KEY=f"{KEY}{name}")
    return tmp_path


def value(secrets: Path, **changes: Any) -> dict[str, Any]:
    return {
        "endpoint": "http://minio.minio.svc:9000",
        "administrator": str(secrets / "root"),
        "users": [
            {"credentials": str(secrets / "operator"), "access": "read", "bucket": "models"},
            {"credentials": str(secrets / "uploader"), "access": "write", "bucket": "models"},
        ],
        **changes,
    }


def written(at: Path, content: Any) -> Path:
    path = at / "users.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def test_the_keys_come_from_folders_and_are_not_shown(secrets: Path) -> None:
    file = load_store_users(written(secrets, value(secrets)))
    administrator, users = read_users(file)
    assert administrator == StoreAdministrator(
        url="http://minio.minio.svc:9000", name="gatehouse", secret_key=ROOT_PASSWORD
    )
    assert users == (
        StoreUser(name="gatehouse-operator", secret_key=f"{KEY}operator", access="read", bucket="models"),
        StoreUser(name="gatehouse-uploader", secret_key=f"{KEY}uploader", access="write", bucket="models"),
    )
    assert KEY not in repr(users)
    assert ROOT_PASSWORD not in repr(administrator)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"user": []}, "user: Extra inputs are not permitted"),
        ({"users": []}, "users: List should have at least 1 item"),
        ({"endpoint": "http://root:x@minio:9000"}, "endpoint: String should match pattern"),
        ({"endpoint": "ftp://minio"}, "endpoint: String should match pattern"),
        (
            {"users": [{"credentials": "/x", "access": "admin", "bucket": "models"}]},
            r"users\.0\.access: Input should be 'read' or 'write'",
        ),
        (
            {"users": [{"credentials": "/x", "access": "read", "bucket": "*"}]},
            r"users\.0\.bucket: String should match pattern",
        ),
    ],
)
def test_a_mistake_is_named_with_its_place(secrets: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(CredentialsInvalid, match=said):
        load_store_users(written(secrets, value(secrets, **changes)))


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("operator/AWS_ACCESS_KEY_ID", "gatehouse", "names gatehouse, who is somebody else in this file already"),
        ("operator/AWS_ACCESS_KEY_ID", "gatehouse-uploader", "names gatehouse-uploader, who is somebody else"),
        ("operator/AWS_ACCESS_KEY_ID", "a/b c", "has no name of a user"),
        ("operator/AWS_ACCESS_KEY_ID", "", "has no name of a user"),
        ("operator/AWS_ACCESS_KEY_ID", "größe", "has something else than ASCII"),
        ("operator/AWS_SECRET_ACCESS_KEY", "short", "has 5 characters; expected: 8 to 40"),
        ("operator/AWS_SECRET_ACCESS_KEY", "x" * 41, "has 41 characters; expected: 8 to 40"),
        ("operator/AWS_SECRET_ACCESS_KEY", "x" * 300_000, "has more than 262144 bytes"),
        ("root/root-password", "x" * 7, "has 7 characters; expected: 8 to 1024"),
    ],
)
def test_a_key_that_is_none_is_named_by_its_file_and_not_shown(
    secrets: Path, file: str, content: str, said: str
) -> None:
    (secrets / file).write_text(content)
    with pytest.raises(CredentialsInvalid, match=said) as refused:
        read_users(load_store_users(written(secrets, value(secrets))))
    assert ROOT_PASSWORD not in str(refused.value)
    assert KEY not in str(refused.value)


def test_a_key_that_is_not_there_is_named(secrets: Path) -> None:
    (secrets / "uploader" / "AWS_SECRET_ACCESS_KEY").unlink()
    with pytest.raises(CredentialsInvalid, match=r"AWS_SECRET_ACCESS_KEY cannot be read: No such file"):
        read_users(load_store_users(written(secrets, value(secrets))))


class Minio:
    """Answers with each of ``answers`` in turn, and then takes everything."""

    def __init__(self, *answers: Exception) -> None:
        self._answers = list(answers)
        self.asked = 0

    def __call__(self, administrator: StoreAdministrator, users: tuple[StoreUser, ...]) -> None:
        self.asked += 1
        if self._answers:
            raise self._answers.pop(0)


def waited(minio: Minio, said: list[str], *, seconds: float = 60.0) -> None:
    administrator = StoreAdministrator(url="http://minio", name="root", secret_key="x" * 8)

    async def work() -> None:
        clock = FakeClock()
        task = asyncio.ensure_future(
            ensure_when_ready(administrator, (), seconds=seconds, clock=clock, say=said.append, ensure=minio)
        )
        while not task.done():
            await asyncio.sleep(0.001)
            if clock.pending:
                clock.advance(0.5)
        await task

    asyncio.run(work())


def test_it_waits_until_minio_answers_and_tells_each_reason_once() -> None:
    said: list[str] = []
    minio = Minio(UsersNotReady("no answer"), UsersNotReady("no answer"), UsersNotReady("starting"))
    waited(minio, said)
    assert minio.asked == 4
    assert said == ["waiting: no answer", "waiting: starting"]


def test_what_minio_refuses_is_not_tried_again() -> None:
    minio = Minio(UsersRefused("HTTP 403"))
    with pytest.raises(NotComplete, match=r"^HTTP 403$"):
        waited(minio, [])
    assert minio.asked == 1


def test_it_gives_up_when_the_time_is_over_and_says_why() -> None:
    minio = Minio(*(UsersNotReady("no answer") for _ in range(1000)))
    with pytest.raises(NotComplete, match="not done after 3 s; no answer"):
        waited(minio, [], seconds=3.0)


def test_the_command_tells_by_its_code_what_is_wrong(secrets: Path) -> None:
    (secrets / "operator" / "AWS_SECRET_ACCESS_KEY").write_text("short")
    answer = CliRunner().invoke(app, ["store-users", str(written(secrets, value(secrets)))])
    assert answer.exit_code == 2
    assert "has 5 characters" in answer.output
