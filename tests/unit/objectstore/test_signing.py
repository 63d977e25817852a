"""Signatures are those of botocore, for hostile names and odd parameters too."""

from __future__ import annotations

from datetime import UTC, datetime
from urllib.parse import urlsplit

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from gatehouse.objectstore.signing import Signer, encode_path, encode_query

AT = datetime(2026, 11, 21, 12, 30, 5, tzinfo=UTC)
EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def authorization_of_botocore(monkeypatch: pytest.MonkeyPatch, method: str, url: str, headers: dict[str, str]) -> str:
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda: AT.replace(tzinfo=None), raising=False)
    request = AWSRequest(method=method, url=url, headers={**headers, "X-Amz-Content-SHA256": EMPTY})
    request.context["timestamp"] = AT.strftime("%Y%m%dT%H%M%SZ")
    auth = S3SigV4Auth(Credentials("key", "secret"), "s3", "us-east-1")
    request.headers["X-Amz-Date"] = request.context["timestamp"]
    signature = auth.signature(auth.string_to_sign(request, auth.canonical_request(request)), request)
    signed = auth.signed_headers(auth.headers_to_sign(request))
    return f"AWS4-HMAC-SHA256 Credential={auth.scope(request)}, SignedHeaders={signed}, Signature={signature}"


@pytest.mark.parametrize(
    ("method", "key", "query", "headers"),
    [
        ("GET", "", {"list-type": "2", "prefix": "m/", "max-keys": "3", "encoding-type": "url"}, {}),
        ("GET", "", {"continuation-token": "a+b/c=", "prefix": "m x/ü"}, {}),
        ("GET", "m/model.safetensors", {}, {}),
        ("HEAD", "m/model.safetensors", {}, {"x-amz-checksum-mode": "ENABLED"}),
        ("GET", "m/ü 漢 +?#&*\"<>|^`{}[]~'!,;=@$%41", {}, {}),
        ("GET", "m/%2e%2e/x", {}, {}),
    ],
)
def test_signatures_are_those_of_botocore(
    monkeypatch: pytest.MonkeyPatch, method: str, key: str, query: dict[str, str], headers: dict[str, str]
) -> None:
    path, string = (
        f"/models/{encode_path(key)}".rstrip("/") if not key else f"/models/{encode_path(key)}",
        encode_query(query),
    )
    signer = Signer(access_key_id="key", secret_access_key="secret", region="us-east-1")
    signed = signer.sign(method, host="127.0.0.1:9000", path=path, query=string, headers=headers, at=AT)
    url = f"http://127.0.0.1:9000{path}" + (f"?{string}" if string else "")
    assert signed["authorization"] == authorization_of_botocore(monkeypatch, method, url, headers)


def test_the_day_changes_the_key_and_nothing_shows_the_secret() -> None:
    signer = Signer(access_key_id="key", secret_access_key="s3cr3t", region="us-east-1")

    def sign(at: datetime) -> str:
        headers = signer.sign("GET", host="h", path="/b", query="", headers={"if-match": '"x"'}, at=at)
        assert headers["if-match"] == '"x"'
        return headers["authorization"]

    first, next_day = sign(AT), sign(AT.replace(day=22))
    assert first != next_day
    assert sign(AT) == first
    assert "s3cr3t" not in f"{first} {signer!r}"


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_paths_survive_as_they_are(key: str) -> None:
    encoded = encode_path(key)
    assert encoded.isascii()
    assert urlsplit(f"http://h/b/{encoded}").query == ""
    assert encode_path("\udcff") == "%FF"
