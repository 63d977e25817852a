"""That the signatures are right is for real servers to say (tests/cluster); here is what they cannot see."""

from __future__ import annotations

from urllib.parse import urlsplit

from hypothesis import given
from hypothesis import strategies as st

from gatehouse.objectstore.signing import Signer, encode_path


def test_nothing_shows_the_secret_and_the_other_headers_stay() -> None:
    signer = Signer(access_key_id="key", secret_access_key="s3cr3t", region="us-east-1")

    headers = signer.sign("GET", url="http://h/b/a%20b?list-type=2", headers={"if-match": '"x"'})

    assert headers["if-match"] == '"x"'
    assert "s3cr3t" not in f"{headers} {signer!r}"


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_paths_survive_as_they_are(key: str) -> None:
    encoded = encode_path(key)
    assert encoded.isascii()
    assert urlsplit(f"http://h/b/{encoded}").query == ""
    assert encode_path("\udcff") == "%FF"
