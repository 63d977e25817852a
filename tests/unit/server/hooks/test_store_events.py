"""Events as values: which forms are read, what cannot exist is left out, and no input does harm."""

from __future__ import annotations

import json
from urllib.parse import quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatehouse.server.errors import BadRequest
from gatehouse.server.hooks.store_events import MOST_RECORDS, StoreEvent, hinted_folders, read_store_events
from unit.server.hooks.events import REGISTRY, record


def read(document: object) -> list[StoreEvent]:
    return list(read_store_events(json.dumps(document).encode()))


def encoded(document: object) -> bytes:
    return json.dumps(document).encode()


def test_records_of_minio_and_aws() -> None:
    document = {"EventName": "s3:ObjectCreated:Put", "Key": "models/a", "Records": [record("a%2Fb+c"), record("d/e")]}
    assert read(document) == [StoreEvent("models", "a/b c"), StoreEvent("models", "d/e")]


def test_an_event_of_eventbridge_has_its_key_as_it_is() -> None:
    detail = {"version": "0", "bucket": {"name": "models"}, "object": {"key": "a/50%25+1", "size": 5}}
    assert read({"source": "aws.s3", "detail-type": "Object Created", "detail": detail}) == [
        StoreEvent("models", "a/50%25+1")
    ]


def test_a_probe_without_records_is_no_event() -> None:
    assert read({}) == read({"Records": []}) == []


@pytest.mark.parametrize(
    "key", ["", "a%00b", "a%ffb", "x" * 1_025, "%41" * 1_025, "a%0Ab", "é" * 513, "a%E2%80%AEb"], ids=range(8)
)
def test_a_key_that_no_artifact_has_is_left_out(key: str) -> None:
    assert read({"Records": [record(key), record("a/b")]}) == [StoreEvent("models", "a/b")]


@pytest.mark.parametrize(
    ("body", "named"),
    [
        (b"", "JsonInvalid"),
        (b"[]", "expected: an object"),
        (b'{"Records": {}}', "Records is"),
        (b'{"Records": [1]}', "Records[0] is 1"),
        (b'{"Records": [{"s3": {}}]}', "Records[0].s3.bucket is missing"),
        (b'{"Records": [{"s3": {"bucket": {"name": 7}, "object": {"key": "a"}}}]}', "a text"),
        (b'{"detail": []}', "detail.bucket is missing"),
        (b'{"Records": ' + b"[" * 100 + b"]" * 100 + b"}", "JsonTooDeep"),
        (b'{"Records": [' + b"1," * 200_000 + b"1]}", "JsonTooManyItems"),
        (b'{"a": "\xff"}', "UTF-8"),
        (b'{"a": "\\ud800"}', "JsonInvalid"),
    ],
)
def test_another_form_is_refused_and_named(body: bytes, named: str) -> None:
    with pytest.raises(BadRequest) as caught:
        read_store_events(body)
    assert named in str(caught.value)
    assert len(str(caught.value)) < 500


def test_records_are_bounded() -> None:
    assert len(read({"Records": [record("a/b")] * MOST_RECORDS})) == MOST_RECORDS
    with pytest.raises(BadRequest, match="10000 records; expected: at most 1000"):
        read({"Records": [record("a/b")] * 10_000})


def test_folders_below_the_stores_of_the_registry_once_each() -> None:
    events = [
        StoreEvent("models", "granite/1/config.json"),
        StoreEvent("models", "granite/1/model.safetensors"),
        StoreEvent("models", "top.json"),
        StoreEvent("shared", "team/x/y"),
        StoreEvent("shared", "other/x/y"),
        StoreEvent("shared", "teams/x"),
        StoreEvent("elsewhere", "granite/1/config.json"),
    ]
    assert hinted_folders(REGISTRY, events) == ["s3://models/granite/1/", "s3://models/", "s3://shared/team/x/"]


@given(
    st.binary(max_size=300)
    | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(lambda v: json.dumps(v).encode())
)
def test_any_body_is_read_or_refused(body: bytes) -> None:
    try:
        events = read_store_events(body)
    except BadRequest:
        return
    assert all(isinstance(event, StoreEvent) for event in events)


@given(st.lists(st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=40), max_size=10))
def test_an_encoded_key_comes_back(parts: list[str]) -> None:
    key = "/".join(parts)
    events = read({"Records": [record(quote_plus(key))]})
    assert events == ([StoreEvent("models", key)] if key else [])
    for folder in hinted_folders(REGISTRY, events):
        assert folder.startswith("s3://models/")
        assert folder.endswith("/")
        assert f"s3://models/{key}".startswith(folder)
