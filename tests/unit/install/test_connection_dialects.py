"""Stores in their dialects: what the connection says of each, what KServe's initializer asks then, what is warned of.

The initializer is boto3 with what KServe sets for it. Its requests are made here by botocore, unsent, from the entry
that the command writes: the host, the path and the region of the signature must be those of Gatehouse's own requests,
or the command says that they are not.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Self
from urllib.parse import urlsplit

import orjson
import pytest
from botocore.awsrequest import AWSResponse
from botocore.config import Config
from botocore.session import Session
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

import worlds
from gatehouse.api.model_registry import ModelRegistry
from gatehouse.cli import storage_connection
from gatehouse.cli.main import app
from gatehouse.domain.admission.contest import endpoints_of
from gatehouse.domain.serving.initializer import loading_of, may_have_virtual_host
from gatehouse.storage.providers.aws import PARTITIONS

BUCKET = "models"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "reader", "AWS_SECRET_ACCESS_KEY": "s3cr3t-half", "AWS_SESSION_TOKEN": ""}


@dataclass(frozen=True, slots=True)
class Asked:
    """One request of the initializer."""

    host: str
    path: str
    region: str


def initializer_asks(entry: Mapping[str, str], *, virtual: bool = False) -> Asked:
    """The request that KServe 0.20's initializer lists with; ``virtual`` is S3_USER_VIRTUAL_BUCKET=true."""
    config = Config(s3={"addressing_style": "virtual"}) if virtual else Config()
    if entry["endpoint_url"] == "https://s3.amazonaws.com" and entry["region"] != "us-east-1":
        config = config.merge(Config(s3={"addressing_style": "virtual"}))
    client = Session().create_client(
        "s3",
        endpoint_url=entry["endpoint_url"],
        region_name=entry["region"],
        aws_access_key_id="a",
        aws_secret_access_key="b",
        config=config,
    )
    asked: list[Asked] = []

    def unsent(request: Any, **_: object) -> AWSResponse:
        split = urlsplit(request.url)
        scope = request.headers["Authorization"]
        scope = scope.decode() if isinstance(scope, bytes) else scope
        asked.append(Asked(split.netloc, split.path, scope.split("/")[2]))
        return AWSResponse(request.url, 200, {}, SimpleNamespace(stream=lambda *_, **__: [b"<r/>"]))

    client.meta.events.register("before-send.s3", unsent)
    client.list_objects_v2(Bucket=BUCKET)
    return asked[0]


@dataclass(frozen=True, slots=True)
class Dialect:
    """A store as a registry declares it; ``asked`` is what reaches it, ``warned`` the rules of what is warned of."""

    store: Mapping[str, Any]
    asked: Asked
    warned: tuple[str, ...] = ()
    virtual: bool = False


DIALECTS: Mapping[str, Dialect] = {
    "AWS": Dialect({"region": "eu-west-1"}, Asked("s3.eu-west-1.amazonaws.com", "/models", "eu-west-1")),
    "AWS without a region": Dialect({}, Asked("s3.us-east-1.amazonaws.com", "/models", "us-east-1")),
    "AWS in China": Dialect({"region": "cn-north-1"}, Asked("s3.cn-north-1.amazonaws.com.cn", "/models", "cn-north-1")),
    "AWS GovCloud": Dialect(
        {"region": "us-gov-west-1"}, Asked("s3.us-gov-west-1.amazonaws.com", "/models", "us-gov-west-1")
    ),
    "an ISO region": Dialect(
        {"region": "us-iso-east-1"}, Asked("s3.us-iso-east-1.c2s.ic.gov", "/models", "us-iso-east-1")
    ),
    "the European Sovereign Cloud": Dialect(
        {"region": "eusc-de-east-1"}, Asked("s3.eusc-de-east-1.amazonaws.eu", "/models", "eusc-de-east-1")
    ),
    "FIPS, with another region beside it": Dialect(
        {"endpoint": "https://s3-fips.us-gov-west-1.amazonaws.com", "region": "us-east-1"},
        Asked("s3-fips.us-gov-west-1.amazonaws.com", "/models", "us-gov-west-1"),
    ),
    "dual-stack": Dialect(
        {"endpoint": "https://s3.dualstack.us-west-2.amazonaws.com/"},
        Asked("s3.dualstack.us-west-2.amazonaws.com", "/models", "us-west-2"),
    ),
    "a VPC endpoint": Dialect(
        {"endpoint": "https://bucket.vpce-0a1b-2c3d.s3.eu-west-1.vpce.amazonaws.com"},
        Asked("bucket.vpce-0a1b-2c3d.s3.eu-west-1.vpce.amazonaws.com", "/models", "eu-west-1"),
    ),
    "the global host of AWS": Dialect(
        {"endpoint": "https://s3.amazonaws.com", "region": "eu-west-1"},
        Asked("s3.amazonaws.com", "/models", "us-east-1"),
    ),
    "AWS by the host's name, which needs no more": Dialect(
        {"region": "eu-west-1", "addressing": "VirtualHost"},
        Asked("s3.eu-west-1.amazonaws.com", "/models", "eu-west-1"),
    ),
    "AWS by the host's name, with the variable": Dialect(
        {"region": "eu-west-1", "addressing": "VirtualHost"},
        Asked("models.s3.eu-west-1.amazonaws.com", "/", "eu-west-1"),
        virtual=True,
    ),
    "MinIO": Dialect(
        {"endpoint": "http://minio.minio.svc:9000", "tls": "Disabled"},
        Asked("minio.minio.svc:9000", "/models", "us-east-1"),
    ),
    "Cloudflare R2": Dialect(
        {"endpoint": "https://account.r2.cloudflarestorage.com", "region": "auto"},
        Asked("account.r2.cloudflarestorage.com", "/models", "auto"),
    ),
    "Google": Dialect(
        {"endpoint": "https://storage.googleapis.com", "region": "auto"},
        Asked("storage.googleapis.com", "/models", "auto"),
    ),
    "Alibaba OSS, with the variable": Dialect(
        {
            "endpoint": "https://oss-cn-hangzhou.aliyuncs.com",
            "region": "oss-cn-hangzhou",
            "addressing": "VirtualHost",
        },
        Asked("models.oss-cn-hangzhou.aliyuncs.com", "/", "oss-cn-hangzhou"),
        warned=("S3_USER_VIRTUAL_BUCKET=true",),
        virtual=True,
    ),
    "requester pays": Dialect(
        {"region": "us-east-1", "requesterPays": True},
        Asked("s3.us-east-1.amazonaws.com", "/models", "us-east-1"),
        warned=("Pods of these models do not start",),
    ),
    "behind a proxy, by a private authority": Dialect(
        {
            "endpoint": "https://s3.example.com",
            "proxy": "http://proxy.example.com:3128",
            "caSecret": {"name": "store-ca", "key": "ca.crt"},
        },
        Asked("s3.example.com", "/models", "us-east-1"),
        warned=("a connection has no proxy", "--ca-config-map"),
    ),
}


def registry_with(*stores: Mapping[str, Any], prefix: str = f"s3://{BUCKET}/") -> ModelRegistry:
    return worlds.registry(objectStores=[{"uriPrefix": prefix, **store} for store in stores])


def create(registry: ModelRegistry, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Result:
    """Runs the command against a cluster that has just this registry."""

    class Cluster:
        async def get(self, plural: str, namespace: str = "", name: str = "") -> dict[str, Any]:
            assert (plural, namespace, name) == ("modelregistries", "gatehouse-system", "local")
            return {"apiVersion": "gatehouse.dev/v1alpha1", "kind": "ModelRegistry", **registry.wire()}

        async def __aenter__(self) -> Self:
            return self

        async def __aexit__(self, *_: object) -> None:
            pass

    monkeypatch.setattr(storage_connection, "cluster", lambda *_: Cluster())
    command = ["connection", "create", "--registry=gatehouse-system/local", "-n", "chatbots", "--dry-run", *arguments]
    return CliRunner().invoke(app, command, env=CREDENTIALS)


@pytest.mark.parametrize("dialect", DIALECTS.values(), ids=DIALECTS.keys())
def test_the_initializer_asks_what_gatehouse_asks(dialect: Dialect, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = registry_with(dialect.store)
    result = create(registry, monkeypatch, "-o", "json")
    assert result.exit_code == 0, result.output
    entry = json.loads(orjson.loads(result.stdout)["stringData"]["minio-connection"])
    assert initializer_asks(entry, virtual=dialect.virtual) == dialect.asked
    warnings = [line for line in result.stderr.splitlines() if line.startswith("warning: ")]
    assert len(warnings) == len(dialect.warned)
    for said, wanted in zip(warnings, dialect.warned, strict=True):
        assert wanted in said
    assert CREDENTIALS["AWS_SECRET_ACCESS_KEY"] not in result.stderr
    if dialect.virtual:
        assert may_have_virtual_host(registry.spec.object_stores[0])


@pytest.mark.parametrize(
    ("arguments", "host", "region"),
    [
        (("--region=cn-north-1",), "https://s3.cn-north-1.amazonaws.com.cn", "cn-north-1"),
        (
            ("--endpoint=https://s3-fips.us-gov-west-1.amazonaws.com",),
            "https://s3-fips.us-gov-west-1.amazonaws.com",
            "us-gov-west-1",
        ),
        (("--endpoint=https://minio.example.com/",), "https://minio.example.com", "us-east-1"),
        (("--endpoint=https://minio.example.com", "--region=eu-1"), "https://minio.example.com", "eu-1"),
    ],
)
def test_without_a_registry_a_region_of_aws_is_enough(arguments: tuple[str, ...], host: str, region: str) -> None:
    command = ["connection", "create", "weights", "-n", "chatbots", "--dry-run", "-o", "json", *arguments]
    result = CliRunner().invoke(app, command, env=CREDENTIALS)
    assert result.exit_code == 0, result.output
    entry = json.loads(orjson.loads(result.stdout)["stringData"]["weights"])
    assert (entry["endpoint_url"], entry["region"]) == (host, region)


def test_openshift_ai_gets_the_endpoint_and_the_bucket_too(monkeypatch: pytest.MonkeyPatch) -> None:
    result = create(registry_with({"region": "eu-west-1"}), monkeypatch, "--for=openshift-ai", "-o", "json")
    assert result.exit_code == 0, result.output
    found = orjson.loads(result.stdout)["stringData"]
    assert found["AWS_S3_ENDPOINT"] == "https://s3.eu-west-1.amazonaws.com"
    assert (found["AWS_DEFAULT_REGION"], found["AWS_S3_BUCKET"]) == ("eu-west-1", BUCKET)


def test_of_stores_at_several_places_somebody_chooses(monkeypatch: pytest.MonkeyPatch) -> None:
    stores = [
        {"uriPrefix": "s3://models/", "endpoint": "https://minio.example.com"},
        {"uriPrefix": "s3://weights/", "region": "eu-west-1"},
    ]
    registry = worlds.registry(objectStores=stores)
    refused = create(registry, monkeypatch)
    assert refused.exit_code == 2
    assert "has stores at several endpoints (s3://models/, s3://weights/); choose one with --bucket" in refused.output
    chosen = create(registry, monkeypatch, "--bucket=weights")
    assert (chosen.exit_code, "for https://s3.eu-west-1.amazonaws.com" in chosen.output) == (0, True)
    assert "no object store with the bucket others" in create(registry, monkeypatch, "--bucket=others").output


def test_a_region_that_nobody_knows_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    result = create(registry_with({"region": "nowhere"}), monkeypatch)
    assert result.exit_code == 2
    assert "has no endpoint, and its region is nowhere" in result.output


def test_keys_that_are_lent_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CREDENTIALS, "AWS_SESSION_TOKEN", "lent")
    result = create(registry_with({"region": "eu-west-1"}), monkeypatch)
    assert result.exit_code == 2
    assert "takes no session token" in result.output
    assert "lent:" not in result.output


ENDPOINTS = st.one_of(
    st.none(),
    st.sampled_from(["https://minio.example.com", "https://s3.example.com:8443/", "https://s3.amazonaws.com"]),
    st.builds(
        lambda form, region: form.format(region=region),
        st.sampled_from(
            [
                "https://s3.{region}.amazonaws.com",
                "https://s3.dualstack.{region}.amazonaws.com",
                "https://s3-fips.{region}.amazonaws.com/",
                "https://S3.{region}.amazonaws.com:443",
            ]
        ),
        st.sampled_from(["us-east-1", "eu-west-1", "us-gov-west-1"]),
    ),
)
REGIONS = st.sampled_from(["us-east-1", "eu-west-1", "cn-north-1", "us-gov-west-1", "us-iso-east-1", "eusc-de-east-1"])


@given(endpoint=ENDPOINTS, region=REGIONS)
def test_a_connection_is_at_the_place_that_was_verified(endpoint: str | None, region: str) -> None:
    """Whoever copies what was written into a registry declares the same place: no bucket is in two by it."""
    declared = registry_with({"region": region} | ({"endpoint": endpoint} if endpoint else {}))
    loading = loading_of(declared.spec.object_stores[0])
    written = registry_with({"region": loading.region, "endpoint": loading.endpoint})
    assert endpoints_of([declared]) == endpoints_of([written])
    assert len(endpoints_of([declared, written])[BUCKET]) == 1
    assert loading_of(written.spec.object_stores[0]) == loading


def test_only_a_bucket_that_was_verified_by_its_hosts_name_may_be_loaded_so() -> None:
    for each, allowed in (
        ({"endpoint": "https://minio.example.com"}, False),
        ({"endpoint": "https://minio.example.com", "addressing": "VirtualHost"}, True),
        ({"endpoint": "https://s3.eu-west-1.amazonaws.com.example.com"}, False),
        ({"region": "nowhere"}, False),
        *(({"region": region}, True) for region in ("eu-west-1", "cn-north-1")),
    ):
        assert may_have_virtual_host(registry_with(each).spec.object_stores[0]) is allowed, each
    assert {each.name for each in PARTITIONS} >= {"aws", "aws-cn", "aws-us-gov"}
