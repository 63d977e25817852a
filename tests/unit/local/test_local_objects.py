from __future__ import annotations

from base64 import b64decode
from pathlib import Path

import pytest

from gatehouse.api.model_registry import ModelRegistry
from gatehouse.registry.address import address_of
from gatehouse_local.databases import LocalDatabase
from gatehouse_local.objects import registry
from gatehouse_local.programs import PROGRAMS
from gatehouse_local.s3 import OPERATOR, UPLOADER, S3Credentials, S3Endpoint
from gatehouse_local.stack import Stack, in_stop_order
from gatehouse_local.state import LocalState

ENDPOINT = S3Endpoint(url="http://127.0.0.1:9", credentials=S3Credentials("access", "secret"))


def model_registry(database: LocalDatabase | None) -> ModelRegistry:
    return ModelRegistry.model_validate(list(registry(ENDPOINT, database))[-1])


def test_the_embedded_registry_and_env_name_the_same_file(tmp_path: Path) -> None:
    programs = {name: Path(name) for name in PROGRAMS}
    stack = Stack(tmp_path, state=LocalState.new(), programs=programs)
    assert stack.database_url == str(address_of(model_registry(None), data_dir=tmp_path / "operator"))


@pytest.mark.parametrize(("kind", "field"), [("mariadb", "mysql"), ("postgres", "postgres")])
def test_a_registry_with_a_server_is_valid_and_holds_no_password(kind: str, field: str) -> None:
    database = LocalDatabase(kind=kind, port=7, username="gatehouse", password="hush")  # type: ignore[arg-type]  # both kinds
    declared = model_registry(database)
    connection = getattr(declared.spec, field)
    assert (connection.host, connection.port, connection.username) == ("127.0.0.1", 7, "gatehouse")
    assert "hush" not in declared.model_dump_json()


def test_nobody_but_minio_has_its_administrators_credentials(tmp_path: Path) -> None:
    state = LocalState.new()
    stack = Stack(tmp_path, state=state, programs={name: Path(name) for name in PROGRAMS})
    operator, uploader = stack.store_as(OPERATOR), stack.store_as(UPLOADER)
    assert operator is not None
    assert uploader is not None
    assert (operator.credentials.access_key, uploader.credentials.access_key) == (OPERATOR, UPLOADER)
    applied = list(registry(operator, None))
    values = [b64decode(value).decode() for each in applied for value in each.get("data", {}).values()]
    assert operator.credentials.secret_key in values
    for secret in (state.secret_key, uploader.credentials.secret_key):
        assert secret not in str(applied) + str(values)


def test_a_server_is_stopped_before_those_it_needs() -> None:
    assert in_stop_order(["etcd", "minio", "operator", "kube-apiserver", "unheard-of"]) == [
        "unheard-of",
        "operator",
        "kube-apiserver",
        "etcd",
        "minio",
    ]


def test_the_operator_gets_its_users_kubeconfig_and_none_of_our_credentials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "ours")
    monkeypatch.setenv("KUBECONFIG", "/ours")
    state = LocalState.new()
    stack = Stack(tmp_path, state=state, programs={name: Path(name) for name in PROGRAMS})
    server = stack.operator()
    kubeconfig = tmp_path / "kubernetes" / "gatehouse-operator.kubeconfig"
    assert server.argv[1:] == (
        "-m",
        "gatehouse",
        "run",
        f"--kubeconfig={kubeconfig}",
        "--context=gatehouse-operator",
        f"--data-dir={tmp_path / 'operator'}",
        f"--audit-key={tmp_path / 'operator' / 'audit.key'}",
        f"--health-address=127.0.0.1:{state.ports['operator']}",
    )
    key = (tmp_path / "operator" / "audit.key").read_bytes()
    assert stack.operator().argv == server.argv
    assert (tmp_path / "operator" / "audit.key").read_bytes() == key, "it is made once, and kept"
    assert (tmp_path / "operator" / "audit.key").stat().st_mode & 0o077 == 0
    assert server.env["KUBECONFIG"] == str(kubeconfig)
    assert "AWS_SECRET_ACCESS_KEY" not in server.env
