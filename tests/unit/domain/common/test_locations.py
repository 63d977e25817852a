from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

import worlds
from gatehouse.domain.common.locations import ArtifactLocation, allows_namespace, duration, locate, store_for


@pytest.mark.parametrize(
    ("uri", "bucket", "prefix"),
    [
        ("s3://models/a/b/", "models", "a/b/"),
        ("s3://models/a", "models", "a/"),
        ("s3://models/", "models", ""),
    ],
)
def test_a_uri_is_a_bucket_and_a_folder(uri: str, bucket: str, prefix: str) -> None:
    assert locate(uri) == ArtifactLocation(scheme="s3", bucket=bucket, prefix=prefix)


@pytest.mark.parametrize(
    ("uri", "prefix"),
    [
        ("s3://models/a/", "s3://models/"),
        ("s3://models/secret/a/", "s3://models/secret/"),
        ("s3://models/secret", "s3://models/secret/"),
        ("s3://models/secret-not/a/", "s3://models/"),
        ("s3://models-other/a/", None),
        ("s3://other/a/", None),
    ],
)
def test_the_longest_matching_prefix_wins(uri: str, prefix: str | None) -> None:
    stores = [{"uriPrefix": "s3://models/"}, {"uriPrefix": "s3://models/secret/"}]
    found = store_for(worlds.registry(objectStores=stores), uri)

    assert (found.uri_prefix if found else None) == prefix


def label(operator: str, *values: str) -> dict[str, Any]:
    """A selector with one requirement on the label ``a``."""
    requirement = {"key": "a", "operator": operator, **({"values": list(values)} if values else {})}
    return {"from": "Selector", "selector": {"matchExpressions": [requirement]}}


YES = {"from": "Selector", "selector": {"matchLabels": {"ai": "yes"}}}


@pytest.mark.parametrize(
    ("allowed", "namespace", "labels", "expected"),
    [
        ({"from": "All"}, "any", None, True),
        ({"from": "Same"}, "gatehouse-system", {}, True),
        ({"from": "Same"}, "team", {}, False),
        (YES, "team", {"ai": "yes"}, True),
        (YES, "team", {"ai": "no"}, False),
        (YES, "team", None, False),
        (label("Exists"), "team", {"a": ""}, True),
        (label("DoesNotExist"), "team", {"a": ""}, False),
        (label("In", "x"), "team", {"a": "x"}, True),
        (label("In", "x"), "team", {"a": "y"}, False),
        (label("NotIn", "x"), "team", {"a": "x"}, False),
        ({"from": "Selector", "selector": {}}, "team", {}, True),
    ],
)
def test_who_may_use_a_registry(
    allowed: dict[str, Any], namespace: str, labels: dict[str, str] | None, expected: bool
) -> None:
    assert allows_namespace(worlds.registry(allowedNamespaces=allowed), namespace, labels) is expected


@pytest.mark.parametrize(
    ("text", "seconds"), [("1h", 3600), ("90s", 90), ("1h30m", 5400), ("24h", 86400), ("2m5s", 125)]
)
def test_durations(text: str, seconds: int) -> None:
    assert duration(text) == timedelta(seconds=seconds)
