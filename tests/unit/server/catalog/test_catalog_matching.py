"""Filters over listed models: the meaning that the rows have, in memory."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatehouse.domain.catalog.listed_models import ListedModel
from gatehouse.domain.entries.entry import Entry, Governed
from gatehouse.domain.entries.properties import Property
from gatehouse.domain.query.filter_query import parse_filter
from gatehouse.server.catalog.matching import matches, text_matches

AT = datetime(2026, 12, 1, tzinfo=UTC)
PATTERN = st.text(alphabet="ab%_\\.", max_size=8)
MODEL = ListedModel(
    version=Entry(
        kind="model_version",
        namespace="team-a",
        name="The First",
        key="v1",
        parent_key="granite",
        parent_id=1,
        id=7,
        state="LIVE",
        properties={"accuracy": Property("double", 0.93), "tested": Property("bool", True), "size": Property("int", 8)},
        created_at=AT,
        updated_at=AT,
    ),
    governed=Governed(
        object_name="granite-v1",
        phase="Ready to Deploy",
        digest="sha256:0",
        cleared_for=("dev", "production"),
        hardware_profile="l4",
        fit="Fits",
        uri="s3://models/granite/",
    ),
    model=Entry(
        kind="registered_model",
        namespace="team-a",
        name="Granite",
        key="granite",
        id=1,
        members={"provider": "IBM", "tasks": ["text-generation", "chat"], "license": "apache-2.0"},
        created_at=AT,
        updated_at=AT,
    ),
)


def translated(pattern: str) -> re.Pattern[str]:
    text, characters = "", iter(pattern)
    for character in characters:
        if character == "\\":
            text += re.escape(next(characters, "\\"))
        else:
            text += {"%": ".*", "_": "."}.get(character, re.escape(character))
    return re.compile(text, re.DOTALL)


@given(PATTERN, st.text(alphabet="ab.%_\\", max_size=10))
def test_like_is_a_pattern_of_the_whole_text(pattern: str, text: str) -> None:
    assert text_matches(pattern, text, any_case=False) == bool(translated(pattern).fullmatch(text))


def test_like_costs_no_more_with_many_wildcards() -> None:
    assert not text_matches("%a" * 4_000 + "%b", "a" * 50_000, any_case=False)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", True),
        ("name = 'granite/v1' AND provider = 'IBM'", True),
        ("name LIKE 'granite/%' AND provider ILIKE 'ib_'", True),
        ("id = 7 AND createTimeSinceEpoch > 0", True),
        ("tasks = 'chat'", True),
        ("tasks != 'chat'", False),
        ("tasks NOT IN ('chat', 'other')", False),
        ("tasks NOT IN ('other')", True),
        ("tasks IN ('other', 'chat') OR id = 8", True),
        ("accuracy > 0.9 AND accuracy.double_value <= 0.93", True),
        ("accuracy.string_value = '0.93'", False),
        ("size = 8 AND size < 8.5 AND size.int_value >= 8", True),
        ("tested = true", True),
        ("gatehouse.cleared_for.production.bool_value = true", True),
        ("gatehouse.cleared_for.staging.bool_value = true", False),
        ("missing != 'x'", False),
        ("missing NOT IN ('x')", False),
        ("artifacts.`gatehouse.fit`.string_value = 'Fits'", True),
        ("artifacts.uri LIKE 's3://models/%'", True),
        ("artifacts.metricsType = 'accuracy-metrics'", False),
        ("id > 'x'", False),
    ],
)
def test_filters(query: str, found: bool) -> None:
    assert matches(parse_filter(query, not_in=True), MODEL) is found
