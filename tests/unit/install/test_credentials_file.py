"""The file that says which Secrets to make."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from gatehouse.install.credentials import new_password
from gatehouse.install.credentials_file import load_credentials_file
from gatehouse.install.errors import CredentialsInvalid

SECRET: dict[str, Any] = {
    "namespace": "ai",
    "name": "creds",
    "values": {"user": "mlmd"},
    "generate": ["password"],
    "copies": [{"namespace": "reg", "name": "copy", "keys": {"pw": "password"}}],
}


def written(folder: Path, value: Any) -> Path:
    path = folder / "credentials.yaml"
    path.write_text(yaml.safe_dump(value))
    return path


def test_a_file_is_read(tmp_path: Path) -> None:
    (secret,) = load_credentials_file(written(tmp_path, {"secrets": [SECRET]})).secrets
    assert secret.keys == ("user", "password")
    assert secret.copies[0].keys == {"pw": "password"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"generat": ["x"]}, r"secrets\.0\.generat: Extra inputs are not permitted"),
        ({"generate": []}, r"secrets\.0\.generate: List should have at least 1 item"),
        ({"generate": None}, r"secrets\.0\.generate: Input should be a valid list"),
        (
            {"published": {"namespace": "reg", "name": "key", "key": "a.pub"}},
            r"secrets\.0: Value error, published is the public half of signing, and signing is missing",
        ),
        ({"certificate": ["db.svc"]}, r"a certificate needs its own Secret; put user, password into another"),
        ({"certificate": []}, r"secrets\.0\.certificate: List should have at least 1 item"),
        ({"certificate": ["*.svc"]}, r"secrets\.0\.certificate\.0: String should match pattern"),
        ({"certificate": ["a..svc"]}, r"secrets\.0\.certificate\.0: String should match pattern"),
        ({"name": "Up"}, r"secrets\.0\.name: String should match pattern"),
        ({"generate": ["a/b"]}, r"secrets\.0\.generate\.0: String should match pattern"),
        (
            {"copies": [{"namespace": "reg", "name": "copy", "keys": {"pw": "passwort"}}]},
            r"the copy reg/copy repeats passwort, which is not a key of ai/creds; it has user, password",
        ),
    ],
)
def test_a_mistake_is_named_with_its_place(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    with pytest.raises(CredentialsInvalid, match=said):
        load_credentials_file(written(tmp_path, {"secrets": [{**SECRET, **change}]}))


def test_a_secret_without_anything_secret_is_refused(tmp_path: Path) -> None:
    plain = {"namespace": "ai", "name": "creds", "values": {"user": "mlmd"}}
    with pytest.raises(CredentialsInvalid, match="expected: generate, signing or certificate; the Secret would hold"):
        load_credentials_file(written(tmp_path, {"secrets": [plain]}))
    (secret,) = load_credentials_file(written(tmp_path, {"secrets": [plain | {"signing": "audit.key"}]})).secrets
    assert secret.keys == ("user", "audit.key")


def test_of_a_certificate_only_the_authority_is_copied(tmp_path: Path) -> None:
    tls = {"namespace": "ai", "name": "tls", "certificate": ["db.ai.svc"]}
    copy = {"namespace": "reg", "name": "creds", "keys": {"ca.crt": "ca.crt"}}
    (secret,) = load_credentials_file(written(tmp_path, {"secrets": [tls | {"copies": [copy]}]})).secrets
    assert secret.keys == ("tls.crt", "tls.key", "ca.crt")
    for origin in ("tls.key", "tls.crt"):
        wrong = {**copy, "keys": {"ca.crt": origin}}
        with pytest.raises(CredentialsInvalid, match=r"only ca\.crt of a certificate may be copied"):
            load_credentials_file(written(tmp_path, {"secrets": [tls | {"copies": [wrong]}]}))


@pytest.mark.parametrize("content", [b"a: [", b"", b"[]", b"\xff\xfe\x00", b"secrets: []", b"x" * 300_000])
def test_what_is_no_such_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "credentials.yaml"
    path.write_bytes(content)
    with pytest.raises(CredentialsInvalid):
        load_credentials_file(path)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(CredentialsInvalid, match=r"none\.yaml cannot be read: No such file"):
        load_credentials_file(tmp_path / "none.yaml")


@given(st.binary(max_size=200))
def test_rubbish_is_refused_in_our_words(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("rubbish") / "credentials.yaml"
    path.write_bytes(content)
    with pytest.raises(CredentialsInvalid):
        load_credentials_file(path)


def test_passwords_are_long_plain_and_never_the_same() -> None:
    made = {new_password() for _ in range(200)}
    assert len(made) == 200
    assert all(len(each) == 32 and each.isalnum() and each.isascii() for each in made)
