"""That the signatures are right is for real servers to say (tests/cluster); here is what they cannot see."""

from __future__ import annotations

import hashlib
from urllib.parse import urlsplit

from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from gatehouse.storage.s3.signing import CONTENT_SHA256, RequestSigner, encode_path


async def test_nothing_shows_the_secret_and_the_other_headers_stay() -> None:
    signer = RequestSigner(Credentials("key", "s3cr3t", "t0ken"), region="us-east-1")

    headers = await signer.sign("GET", url="http://h/b/a%20b?list-type=2", headers={"if-match": '"x"'})

    assert headers["if-match"] == '"x"'
    assert "s3cr3t" not in f"{headers} {signer!r}"
    assert "t0ken" not in repr(signer)
    assert headers["X-Amz-Security-Token"] == "t0ken"


async def test_a_body_is_signed_by_the_hash_that_was_announced() -> None:
    signer = RequestSigner(Credentials("key", "s3cr3t"), region="us-east-1")

    async def signed(announced: dict[str, str]) -> dict[str, str]:
        return await signer.sign("PUT", url="http://h/b/a", headers=announced)

    empty, one, other = ({}, {CONTENT_SHA256: "1" * 64}, {CONTENT_SHA256: "2" * 64})
    assert (await signed(one))["X-Amz-Content-SHA256"] == "1" * 64
    assert (await signed(empty))["X-Amz-Content-SHA256"] == hashlib.sha256(b"").hexdigest()
    signatures = [(await signed(each))["Authorization"].rpartition("Signature=")[2] for each in (empty, one, other)]
    assert len(set(signatures)) == 3


async def test_credentials_that_are_renewed_are_taken_up() -> None:
    credentials = Credentials("old", "s3cr3t")
    signer = RequestSigner(credentials, region="us-east-1")
    credentials.access_key = "new"
    assert "Credential=new/" in (await signer.sign("GET", url="http://h/b", headers={}))["Authorization"]


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_paths_survive_as_they_are(key: str) -> None:
    encoded = encode_path(key)
    assert encoded.isascii()
    assert urlsplit(f"http://h/b/{encoded}").query == ""
    assert encode_path("\udcff") == "%FF"
