"""The table of providers: the form of URIs, the clients, and one refusal of every other scheme."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path
from pkgutil import resolve_name

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatehouse.api.model_registry import ObjectStore
from gatehouse.domain.common.errors import Stalled
from gatehouse.domain.common.locations import locate, place_of, provider_of
from gatehouse.errors import InputInvalid
from gatehouse.storage.metrics import NoMetrics
from gatehouse.storage.providers.provider import Connection, Provider
from gatehouse.storage.providers.s3 import S3
from gatehouse.storage.providers.table import ALIASES, ARTIFACT_URI, FOLDER_TEXT, PREFIX_URI, PROVIDERS, with_own_scheme
from gatehouse.storage.stores import Stores, location_of

SOURCE = Path(__file__).parents[3] / "operator" / "gatehouse"
ADMISSION = Path(__file__).parents[3] / "kustomize/base/admission"


@pytest.mark.parametrize(
    ("uri", "artifact", "prefix"),
    [
        ("s3://models/granite-3.1-8b/", True, True),
        ("s3://models/granite-3.1-8b", True, False),
        ("s3://models/", False, True),
        ("s3://models", False, False),
        ("s3://m/a/", False, False),
        (f"s3://{'m' * 63}/a/", True, True),
        (f"s3://{'m' * 64}/a/", False, False),
        ("s3://Models/a/", False, False),
        ("s3://-models/a/", False, False),
        ("s3://models/a b/", False, False),
        ("s3://models//a/", False, False),
        ("s3:models/a/", False, False),
        ("ftp://models/a/", False, False),
        (" s3://models/a/", False, False),
        ("s3://models/a/?", False, False),
    ],
)
def test_the_form_of_uris(uri: str, artifact: bool, prefix: bool) -> None:
    """That the kinds have this form is the check of ``crds/``."""
    assert (re.fullmatch(ARTIFACT_URI, uri) is not None) is artifact
    assert (re.fullmatch(PREFIX_URI, uri) is not None) is prefix


@pytest.mark.parametrize("provider", PROVIDERS.values(), ids=PROVIDERS)
def test_the_example_of_a_provider_is_valid(provider: Provider) -> None:
    assert re.fullmatch(ARTIFACT_URI, provider.example)
    assert re.fullmatch(PREFIX_URI, provider.example)
    assert re.fullmatch(FOLDER_TEXT, provider.example)
    assert location_of(provider.example).scheme == provider.scheme
    assert PROVIDERS[provider.scheme] is provider


def test_the_policies_of_admission_name_the_schemes_and_the_form_of_the_table() -> None:
    policies = {file.name: file.read_text() for file in ADMISSION.glob("*.yaml")}
    named = {name: set(re.findall(r"'\^?([a-z0-9]+)://", policy)) for name, policy in policies.items()}
    assert {name: schemes for name, schemes in named.items() if schemes} == {
        "inferenceservice-artifact.yaml": set(PROVIDERS),
        "inferenceservice-shape.yaml": set(PROVIDERS),
        "llminferenceservice.yaml": set(PROVIDERS),
        "pod-artifact.yaml": set(PROVIDERS),
    }
    assert f"'{ARTIFACT_URI.removesuffix('?$')}$'" in policies["inferenceservice-shape.yaml"]


@pytest.mark.parametrize("provider", PROVIDERS.values(), ids=PROVIDERS)
def test_the_clients_that_a_provider_names_exist(provider: Provider) -> None:
    assert callable(resolve_name(provider.stores))
    assert callable(resolve_name(provider.commands))


@pytest.mark.parametrize("provider", PROVIDERS.values(), ids=PROVIDERS)
def test_a_connection_never_shows_its_credentials(provider: Provider) -> None:
    secrets = tuple(f"secret-{number}" for number in range(len(provider.credential_keys)))
    connection = Connection(provider=provider, key="models", endpoint="https://a", region="b", credentials=secrets)
    assert "secret-" not in repr(connection)
    for secret in secrets:
        assert secret in connection.of_kserve().values()
        assert secret in connection.of_openshift_ai().values()
    assert connection.of_kserve()["type"] == provider.connection_type


@given(st.from_regex(ARTIFACT_URI.removesuffix("$"), fullmatch=True))
def test_the_parts_of_a_valid_uri_make_the_uri_again(uri: str) -> None:
    location = locate(uri)
    assert f"{location.scheme}://{location.bucket}/{location.prefix}" == uri.rstrip("/") + "/"
    assert re.fullmatch(provider_of(uri).bucket, location.bucket)
    assert provider_of(uri) is PROVIDERS[location.scheme]


@given(st.text())
def test_no_text_is_too_odd_for_its_parts(text: str) -> None:
    location = locate(text)
    assert location.prefix == "" or location.prefix.endswith("/")
    assert "/" not in location.bucket


@pytest.mark.parametrize(
    "uri", ["ftp://models/a/", "minio://models/a/", "S3://models/a/", "models/a", "s3", "://a/b", ""]
)
def test_every_other_scheme_is_refused_with_the_schemes_that_exist(uri: str) -> None:
    with pytest.raises(Stalled) as refused:
        provider_of(uri)
    assert refused.value.reason == "SchemeUnknown"
    assert repr(uri) in refused.value.message
    assert all(f"{scheme}://" in refused.value.message for scheme in PROVIDERS)
    with pytest.raises(InputInvalid) as told:
        location_of(uri)
    assert str(told.value) == refused.value.message


def test_each_other_name_of_a_scheme_leads_to_one_of_the_table() -> None:
    assert set(ALIASES.values()) <= set(PROVIDERS)
    assert not set(ALIASES) & set(PROVIDERS)
    assert with_own_scheme("minio://models/a/") == "s3://models/a/"
    for uri in ("s3://models/a/", "gs://models/a/", "minio", "MINIO://models/a/", ""):
        assert with_own_scheme(uri) == uri


def test_a_region_that_no_endpoint_serves_names_what_is_expected() -> None:
    with pytest.raises(Stalled) as refused:
        place_of(ObjectStore(uri_prefix="s3://models/", region="garage"))
    assert refused.value.reason == "RegionUnknown"
    assert S3.regions in refused.value.message


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (("https://minio:443/", "us-east-1"), ("https://MINIO", "eu-west-1"), True),
        (("http://minio:80", "us-east-1"), ("http://minio", "us-east-1"), True),
        (("http://minio", "us-east-1"), ("https://minio", "us-east-1"), False),
        ((None, "us-east-1"), ("https://s3.eu-west-1.amazonaws.com", "eu-west-1"), True),
        ((None, "us-east-1"), (None, "cn-north-1"), False),
        ((None, "us-east-1"), ("http://s3.us-east-1.amazonaws.com", "us-east-1"), False),
    ],
)
def test_stores_of_one_identity_have_the_same_buckets(
    one: tuple[str | None, str], other: tuple[str | None, str], same: bool
) -> None:
    assert (S3.identity(*one) == S3.identity(*other)) is same


async def test_a_store_is_opened_by_the_clients_of_its_scheme() -> None:
    async with aclosing(Stores(NoMetrics())) as stores:
        store = ObjectStore(uri_prefix="s3://models/", endpoint="https://minio.example.com")
        opened = stores.open(store, bucket="models", credentials=("a", "b"), ca_pem=None)
        assert stores.open(store, bucket="models", credentials=("a", "b"), ca_pem=None) is opened
        assert stores.open(store, bucket="models", credentials=("a", "c"), ca_pem=None) is not opened
        assert stores.archive(store, bucket="models", credentials=("a", "b"), ca_pem=None) is not None


KNOWS_A_PROTOCOL = (
    "storage/",
    # Help and examples for people.
    "cli/",
    # Variables that Pods of models may not set, whichever store they are for.
    "domain/runtimes/environment.py",
)


def test_no_other_module_names_a_scheme_or_a_variable_of_a_provider() -> None:
    names = re.compile("|".join([*(f"{scheme}://" for scheme in PROVIDERS), r"AWS_[A-Z]", "minio:"]))
    hits = [
        f"{path}:{line}: {text}"
        for module in sorted(SOURCE.rglob("*.py"))
        if not (path := str(module.relative_to(SOURCE))).startswith(KNOWS_A_PROTOCOL)
        for line, text in texts(ast.parse(module.read_text()))
        if names.search(text)
    ]
    assert hits == []


def texts(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Every string of a module but those that stand alone, which are docstrings."""
    alone = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in alone:
            yield node.lineno, node.value
