"""Records and rows are the same thing twice."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatehouse.domain.artifact.model_config import ModelConfig, Quantization, RopeScaling
from gatehouse.domain.artifact.values import ArtifactRecord, ArtifactSummary
from gatehouse.domain.common.errors import Stalled
from gatehouse.domain.common.finding import Finding
from gatehouse.domain.version.records import FileRecord, ModelRecord, StateChange, VersionRecord
from gatehouse.registry.mappers import (
    CHANGE_COLUMNS,
    FILE_COLUMNS,
    MODEL_COLUMNS,
    VERSION_COLUMNS,
    change_of,
    change_values,
    dump_artifact,
    file_of,
    file_values,
    load_artifact,
    model_of,
    model_values,
    version_of,
    version_values,
)
from registrycontract import NOW, a_file, a_version, an_artifact

text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=16)
counts = st.integers(0, 2**63 - 1)
times = st.timedeltas(timedelta(), timedelta(days=30_000)).map(lambda age: datetime(2000, 1, 1, tzinfo=UTC) + age)
configs = st.builds(
    ModelConfig,
    architecture=st.none() | text,
    num_hidden_layers=st.none() | st.integers(1, 10_000),
    sliding_window_pattern=st.none() | st.integers(1, 100) | st.text("LG", min_size=1),
    layer_types=st.dictionaries(text, st.integers(1, 100), max_size=3),
    rope_scaling=st.none() | st.builds(RopeScaling, kind=st.none() | text, factor=st.none() | st.floats(0, 1e9)),
    quantization=st.none() | st.builds(Quantization, method=st.none() | text, bits=st.none() | st.integers(1, 64)),
    use_sliding_window=st.none() | st.booleans(),
    auto_map=st.booleans(),
)
summaries = st.builds(
    ArtifactSummary,
    format=text,
    files=counts,
    total_bytes=counts,
    parameters=st.none() | counts,
    weights_bytes=st.none() | counts,
    dtypes=st.dictionaries(text, counts, max_size=4),
    config=st.none() | configs,
    unsafe_files=st.lists(text, max_size=3).map(tuple),
    notes=st.lists(text, max_size=3).map(tuple),
)
problems = st.builds(Finding, reason=text, found=text, expected=text, remedy=text)
artifacts = st.builds(
    ArtifactRecord,
    outcome=st.sampled_from(["Verified", "Invalid", "Missing", "Unverified"]),
    fingerprint=text,
    digest=st.none() | text,
    verified_at=times,
    summary=st.none() | summaries,
    problems=st.lists(problems, max_size=3).map(tuple),
    read_at=st.none() | times,
)
ids = st.integers(1, 2**63 - 1)
versions = st.builds(
    VersionRecord,
    **dict.fromkeys(("id", "model_id"), ids),
    **dict.fromkeys(
        ("model", "version", "namespace", "object_name", "uid", "uri", "phase", "hardware_profile", "spec"), text
    ),
    state=st.sampled_from(["LIVE", "ARCHIVED"]),
    digest=st.none() | text,
    artifact=st.none() | artifacts,
)
models = st.builds(
    ModelRecord,
    id=ids,
    state=st.sampled_from(["LIVE", "ARCHIVED"]),
    **dict.fromkeys(("name", "namespace", "uid", "spec"), text),
)
files = st.builds(
    FileRecord,
    path=text,
    size=counts,
    etag=text,
    sha256=text,
    source=st.sampled_from([None, "Bytes", "StoreChecksum"]),
    modified=text,
    version_id=text,
    hashed_at=st.none() | st.datetimes(timezones=st.just(UTC)),
)
changes = st.builds(
    StateChange,
    at=times,
    before=st.none() | text,
    digest=st.none() | text,
    **dict.fromkeys(("actor", "after", "reason", "message"), text),
)


def row(columns: tuple[Any, ...], values: dict[str, Any]) -> list[Any]:
    return [values[column.name] for column in columns]


@given(artifacts)
def test_artifacts_survive_their_json(record: ArtifactRecord) -> None:
    assert load_artifact(dump_artifact(record)) == record


@given(versions)
def test_versions_survive_their_row(record: VersionRecord) -> None:
    values = version_values("r", record) | {"id": record.id, "model_id": record.model_id}
    assert version_of(row(VERSION_COLUMNS, values)) == record


@given(models)
def test_models_survive_their_row(record: ModelRecord) -> None:
    assert model_of(row(MODEL_COLUMNS, model_values("r", record) | {"id": record.id})) == record


@given(files)
def test_files_survive_their_row(record: FileRecord) -> None:
    assert file_of(row(FILE_COLUMNS, file_values("r", "m", "v", record))) == record


@given(changes)
def test_changes_survive_their_row(change: StateChange) -> None:
    assert change_of(row(CHANGE_COLUMNS, change_values(change, "a version"))) == change


@given(st.text(), st.text())
def test_whatever_a_store_names_can_be_kept(found: str, note: str) -> None:
    summary = ArtifactSummary(format="safetensors", files=1, total_bytes=1, notes=(note,), unsafe_files=(found,))
    record = an_artifact(summary=summary, problems=(Finding(reason="r", found=found, expected="w", remedy="m"),))
    again = load_artifact(dump_artifact(record))
    assert again.problems[0].found == found.encode("utf-8", "backslashreplace").decode()
    dump_artifact(again).encode()


@pytest.mark.parametrize(
    "artifact",
    [
        "",
        "null",
        "[]",
        "{}",
        '{"outcome": "Excellent"}',
        dump_artifact(an_artifact()).replace("2026-11-21", "yesterday"),
        dump_artifact(an_artifact()).replace('"config":{', '"config":["'),
        dump_artifact(an_artifact()).replace('"notes"', '"noted"'),
        dump_artifact(an_artifact()).replace('"config":{', '"config":7,"x":{'),
    ],
)
def test_a_row_that_does_not_decode_is_named(artifact: str) -> None:
    values = version_values("r", a_version()) | {"id": 12, "model_id": 3, "artifact": artifact}
    with pytest.raises(Stalled) as caught:
        version_of(row(VERSION_COLUMNS, values))
    assert caught.value.reason == "RowUnreadable"
    assert "Row 12 of table model_versions (version 'v1' of model 'granite')" in caught.value.message


@pytest.mark.parametrize(
    ("file", "said"),
    [
        (a_file("p" * 1025), "path has 1025 characters, expected at most 1024"),
        (a_file("a\udcff"), "path is not valid Unicode"),
        (a_file(etag="e" * 256), "etag has 256 characters"),
        (a_file(size=-1), "size is -1"),
        (a_file(size=2**63), "size is 9223372036854775808"),
    ],
)
def test_a_file_that_no_row_can_hold_is_refused(file: FileRecord, said: str) -> None:
    with pytest.raises(Stalled, match=said):
        file_values("r", "m", "v", file)


def test_a_time_without_a_zone_is_refused() -> None:
    change = StateChange(
        at=NOW.replace(tzinfo=None), actor="a", before=None, after="b", digest=None, reason="r", message="m"
    )
    with pytest.raises(Stalled, match="a time with its zone"):
        change_values(change, "a version")


def test_the_largest_artifact_is_small() -> None:
    """What a row keeps of an artifact does not grow with its tensors."""
    record = an_artifact(verified_at=NOW + timedelta(microseconds=1))
    assert len(dump_artifact(record)) < 1000
