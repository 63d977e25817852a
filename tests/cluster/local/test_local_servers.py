"""The session's servers are what their descriptions say."""

from __future__ import annotations

import contextlib
import ssl
import urllib.request
from pathlib import Path

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import SSLError
from sqlalchemy import create_engine, text

from gatehouse_local.databases import LocalDatabase
from gatehouse_local.ephemeral import RunningControlPlane, RunningVersitygw
from gatehouse_local.errors import ApiRefused
from gatehouse_local.pki import ensure_certificate
from gatehouse_local.s3 import S3Endpoint, ensure_bucket


def s3(endpoint: S3Endpoint, *, authority: Path | None = None):  # type: ignore[no-untyped-def]  # a generated client
    return boto3.client(
        "s3",
        endpoint_url=endpoint.url,
        region_name=endpoint.region,
        aws_access_key_id=endpoint.credentials.access_key,
        aws_secret_access_key=endpoint.credentials.secret_key,
        verify=str(authority) if authority else None,
        config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}),
    )


def test_the_api_server_serves_the_kinds(control_plane: RunningControlPlane, namespace: str) -> None:
    with contextlib.closing(control_plane.client()) as client:
        client.apply(
            {
                "apiVersion": "gatehouse.dev/v1alpha1",
                "kind": "RegisteredModel",
                "metadata": {"name": "m", "namespace": namespace},
                "spec": {"displayName": "M"},
            }
        )
        models = client.request("GET", f"/apis/gatehouse.dev/v1alpha1/namespaces/{namespace}/registeredmodels")
        version = client.request("GET", "/version")
    assert [model["metadata"]["name"] for model in models["items"]] == ["m"]
    assert (version["major"], version["minor"]) == ("1", "36")


def test_an_unknown_token_is_refused(control_plane: RunningControlPlane) -> None:
    context = ssl.create_default_context(cafile=str(control_plane.authority))
    request = urllib.request.Request(  # noqa: S310  the fixture's own https address
        f"{control_plane.url}/api/v1/namespaces", headers={"Authorization": "Bearer wrong"}
    )
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(request, context=context, timeout=10)  # noqa: S310  as above


def test_a_client_names_what_was_refused(control_plane: RunningControlPlane, namespace: str) -> None:
    with contextlib.closing(control_plane.client("ai-developer")) as client:
        with pytest.raises(ApiRefused, match=r"403.*ai-developer.*secrets") as refused:
            client.request("GET", f"/api/v1/namespaces/{namespace}/secrets")
        with pytest.raises(ApiRefused, match="no kind Unheard in v1"):
            client.apply({"apiVersion": "v1", "kind": "Unheard", "metadata": {"name": "x"}})
    assert refused.value.status == 403


def test_objects_are_stored_and_read_back(minio: S3Endpoint) -> None:
    ensure_bucket(minio, "stored")
    ensure_bucket(minio, "stored")
    client = s3(minio)
    client.put_object(Bucket="stored", Key="a/b", Body=b"content")
    assert client.get_object(Bucket="stored", Key="a/b")["Body"].read() == b"content"


def test_only_its_own_authority_vouches_for_the_tls_store(minio_tls: S3Endpoint, tmp_path: Path) -> None:
    stranger = ensure_certificate(tmp_path, authority="stranger").authority
    assert minio_tls.url.startswith("https://")
    trusting = s3(minio_tls, authority=minio_tls.authority)
    trusting.create_bucket(Bucket="vouched-for")
    # Other tests may have theirs.
    assert "vouched-for" in {each["Name"] for each in trusting.list_buckets()["Buckets"]}
    with pytest.raises(SSLError, match="CERTIFICATE_VERIFY_FAILED"):
        s3(minio_tls, authority=stranger).list_buckets()


def test_a_sparse_file_is_an_object(versitygw: RunningVersitygw) -> None:
    ensure_bucket(versitygw.endpoint, "sparse")
    size = 8 << 30
    with (versitygw.data / "sparse" / "big").open("wb") as handle:
        handle.truncate(size)
    client = s3(versitygw.endpoint)
    assert client.head_object(Bucket="sparse", Key="big")["ContentLength"] == size
    tail = client.get_object(Bucket="sparse", Key="big", Range=f"bytes={size - 4}-")
    assert tail["Body"].read() == bytes(4)


@pytest.mark.parametrize("kind", ["mariadb", "postgres"])
def test_a_database_answers_and_lets_its_user_create_another(kind: str, request: pytest.FixtureRequest) -> None:
    database: LocalDatabase = request.getfixturevalue(kind)
    engine = create_engine(database.url)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        assert connection.execute(text("SELECT 40 + 2")).scalar() == 42
        connection.execute(text("CREATE DATABASE gatehouse_other"))
        connection.execute(text("DROP DATABASE gatehouse_other"))
    engine.dispose()
    assert database.password not in repr(database)
