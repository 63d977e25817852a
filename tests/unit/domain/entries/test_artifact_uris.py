"""URIs of artifacts: the words about the server come and go, and every other URI stays word for word."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from model_registry.utils import s3_uri_from

from gatehouse.domain.entries.artifact_uris import ArtifactAddress, read_artifact_uri, write_artifact_uri

S3 = ArtifactAddress(uri="s3://models/granite/", endpoint="https://minio.example:9000", region="eu-1")


def test_the_clients_write_this_form() -> None:
    text = s3_uri_from("granite/", "models", endpoint=S3.endpoint, region=S3.region)
    assert text == "s3://models/granite/?endpoint=https://minio.example:9000&defaultRegion=eu-1"
    assert read_artifact_uri(text) == S3
    assert write_artifact_uri(S3) == text


def test_minio_is_another_name_of_s3() -> None:
    assert read_artifact_uri("minio://models/granite/").uri == "s3://models/granite/"
    assert read_artifact_uri("minio://models/granite/?endpoint=https://minio.example:9000&defaultRegion=eu-1") == S3
    assert read_artifact_uri("minio:models").uri == "minio:models"


def test_an_address_without_a_server_is_the_uri() -> None:
    assert write_artifact_uri(ArtifactAddress(uri="s3://a/b")) == "s3://a/b"
    assert read_artifact_uri("s3://a/b?") == ArtifactAddress(uri="s3://a/b")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "s3",
        "uri",
        "some://uri",
        "https://acme.org/x?endpoint=https://x",
        "s3://bucket/path?versionId=5",
        "s3://bucket/path?endpoint=x&versionId=5",
        "s3://bucket/path?endpoint",
        "s3://bucket/path?" + "&".join(["endpoint=x"] * 100),
    ],
)
def test_other_uris_stay(text: str) -> None:
    assert read_artifact_uri(text) == ArtifactAddress(uri=text)


@given(st.text(max_size=20).map(lambda text: f"s3://bucket/path?{text}"))
def test_never_raises(text: str) -> None:
    assert read_artifact_uri(text).uri in {text, "s3://bucket/path"}


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), st.text(st.characters(exclude_categories=["Cs"])))
def test_every_reader_of_urls_reads_the_words(endpoint: str, region: str) -> None:
    address = ArtifactAddress(uri="s3://bucket/path", endpoint=endpoint, region=region)
    text = write_artifact_uri(address)
    assert read_artifact_uri(text) == address
    assert parse_qs(urlsplit(text).query)["endpoint"] == [endpoint]
