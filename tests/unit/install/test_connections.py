"""The connection that KServe loads by: what is written, that other keys stay, and that no value is told."""

from __future__ import annotations

import asyncio
import json
from base64 import b64decode, b64encode
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from gatehouse.cli.main import app
from gatehouse.cluster.client import ApiError, Patch
from gatehouse.install.connections import Form, WrittenConnection, ensure_connection, manifest
from gatehouse.install.errors import ForeignSecret
from gatehouse.storage.providers.provider import Connection
from gatehouse.storage.providers.s3 import S3

SECRET = "s3cr3t-half"
CONNECTION = Connection(
    provider=S3,
    key="minio-connection",
    endpoint="https://minio.example.com",
    region="us-east-1",
    credentials=("reader", SECRET),
)


class Api:
    """Secrets of one namespace; counts what is written."""

    def __init__(self, found: dict[str, Any] | None = None) -> None:
        self.secrets: dict[str, dict[str, Any]] = {found["metadata"]["name"]: found} if found else {}
        self.writes = 0

    async def get(self, plural: str, namespace: str = "", name: str = "") -> dict[str, Any]:
        assert (plural, namespace) == ("secrets", "chatbots")
        if name not in self.secrets:
            raise ApiError(status=404, reason="NotFound", message="no such Secret")
        return self.secrets[name]

    async def create(self, plural: str, namespace: str, body: Any) -> dict[str, Any]:
        self.writes += 1
        name = body["metadata"]["name"]
        data = {key: b64encode(value.encode()).decode() for key, value in body["stringData"].items()}
        self.secrets[name] = {"metadata": dict(body["metadata"]), "data": data}
        return self.secrets[name]

    async def update(self, plural: str, namespace: str, name: str, body: Any) -> dict[str, Any]:
        raise AssertionError((plural, namespace, name, body))

    async def patch(self, plural: str, namespace: str, name: str, body: Any, *, kind: Patch) -> dict[str, Any]:
        assert (plural, namespace, kind) == ("secrets", "chatbots", "application/merge-patch+json")
        self.writes += 1
        self.secrets[name]["data"] |= body["data"]
        return self.secrets[name]

    def entry(self, key: str) -> Any:
        return json.loads(b64decode(self.secrets["storage-config"]["data"][key]))


def ensured(api: Api, connection: Connection = CONNECTION, *, form: Form = "kserve") -> WrittenConnection:
    return asyncio.run(ensure_connection(api, connection, namespace="chatbots", form=form))


def test_it_is_made_once_and_kept() -> None:
    api = Api()
    assert str(ensured(api)) == "created Secret chatbots/storage-config with the key minio-connection"
    assert api.entry("minio-connection") == {
        "type": "s3",
        "endpoint_url": "https://minio.example.com",
        "region": "us-east-1",
        "access_key_id": "reader",
        "secret_access_key": SECRET,
    }
    assert ensured(api).done == "kept"
    assert api.writes == 1


def test_other_keys_stay_and_what_differs_is_named_without_its_value() -> None:
    api = Api()
    ensured(api)
    ensured(api, Connection(provider=S3, key="weights", endpoint="https://other", region="eu-1"))
    moved = Connection(
        provider=S3,
        key="minio-connection",
        endpoint="https://new",
        region="us-east-1",
        credentials=("reader", "another"),
    )
    assert str(ensured(api, moved)) == (
        "updated Secret chatbots/storage-config with the key minio-connection: endpoint_url, secret_access_key"
    )
    assert api.entry("weights") == {
        "type": "s3",
        "endpoint_url": "https://other",
        "region": "eu-1",
        "anonymous": "True",
    }
    assert SECRET not in repr(moved) + repr(CONNECTION)


@pytest.mark.parametrize("there", ["not json", "[]", ""])
def test_a_key_that_does_not_read_is_written_anew(there: str) -> None:
    data = {"minio-connection": b64encode(there.encode()).decode()}
    api = Api({"metadata": {"name": "storage-config"}, "data": data})
    assert ensured(api).done == "updated"
    assert api.entry("minio-connection")["type"] == "s3"


def test_openshift_ai_gets_a_data_connection() -> None:
    api = Api()
    assert str(ensured(api, form="openshift-ai")) == "created Secret chatbots/minio-connection"
    made = api.secrets["minio-connection"]
    assert made["metadata"]["labels"]["opendatahub.io/managed"] == "true"
    assert made["metadata"]["annotations"]["opendatahub.io/connection-type"] == "s3"
    assert sorted(made["data"]) == [
        "AWS_ACCESS_KEY_ID",
        "AWS_DEFAULT_REGION",
        "AWS_S3_BUCKET",
        "AWS_S3_ENDPOINT",
        "AWS_SECRET_ACCESS_KEY",
    ]
    assert ensured(api, form="openshift-ai").done == "kept"


def test_what_is_somebody_elses_is_not_overwritten() -> None:
    managed = {"metadata": {"name": "storage-config", "labels": {"opendatahub.io/managed": "true"}}, "data": {}}
    with pytest.raises(ForeignSecret, match="use --for openshift-ai"):
        ensured(Api(managed))
    plain = {"metadata": {"name": "minio-connection"}, "data": {"password": "eA=="}}
    with pytest.raises(ForeignSecret, match="is no data connection"):
        ensured(Api(plain), form="openshift-ai")


# The command


def run(*arguments: str, stdin: str = "", env: dict[str, str] | None = None) -> Result:
    given = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", **(env or {})}
    return CliRunner().invoke(app, ["connection", "create", *arguments], input=stdin, env=given)


BASE = ("minio-connection", "-n", "chatbots", "--endpoint", "https://minio.example.com", "--dry-run")


def test_the_halves_come_from_files_from_stdin_and_from_the_environment(tmp_path: Path) -> None:
    access, secret = tmp_path / "access", tmp_path / "secret"
    access.write_text("reader\n")
    secret.write_text(f"{SECRET}\n")
    ways = (
        run(*BASE, "-o", "yaml", "--access-key-file", str(access), "--secret-key-file", str(secret)),
        run(*BASE, "-o", "yaml", "--access-key-file", str(access), "--secret-key-file", "-", stdin=f"{SECRET}\n"),
        run(*BASE, "-o", "yaml", env={"AWS_ACCESS_KEY_ID": "reader", "AWS_SECRET_ACCESS_KEY": SECRET}),
    )
    for result in ways:
        assert result.exit_code == 0, result.output
        assert yaml.safe_load(result.stdout) == manifest(CONNECTION, namespace="chatbots", form="kserve")


def test_nothing_but_the_manifest_shows_a_secret() -> None:
    env = {"AWS_ACCESS_KEY_ID": "reader", "AWS_SECRET_ACCESS_KEY": SECRET}
    result = run(*BASE, env=env)
    assert result.output == (
        "would write Secret chatbots/storage-config with minio-connection for https://minio.example.com\n"
    )
    assert (
        SECRET not in run("minio-connection", "-n", "chatbots", "--endpoint", "nonsense", "--dry-run", env=env).output
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (BASE, "AWS_ACCESS_KEY_ID is empty; set AWS_ACCESS_KEY_ID, or name a file with --access-key-file"),
        ((*BASE, "--access-key-file", "/nowhere"), "--access-key-file /nowhere cannot be read"),
        (("--anonymous", "--dry-run"), "the name is ''; it must consist of lower-case letters"),
        (("x", "--anonymous", "--dry-run"), "the endpoint is missing; name it, as in --endpoint"),
        (("x", "--anonymous", "--dry-run", "--endpoint", "minio"), "the endpoint is 'minio'; it must be a URL"),
        (("x", "-o", "yaml", "--anonymous"), "-o yaml prints credentials and is for --dry-run only"),
        (("x", "--anonymous", "--for", "openshift-ai"), "leave --anonymous out"),
        (("x", "--anonymous", "--credentials-secret", "a/b"), "--credentials-secret has both keys; leave --anonymous"),
        (("x", "--access-key-file", "f", "--credentials-secret", "a/b"), "--credentials-secret has both keys"),
    ],
)
def test_what_is_missing_is_named(arguments: tuple[str, ...], said: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert said in result.output
