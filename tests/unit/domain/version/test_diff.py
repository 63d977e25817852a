"""Two versions beside each other."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import worlds
from gatehouse.api.model_evaluation import ModelEvaluation
from gatehouse.domain.artifact.model_config import ModelConfig
from gatehouse.domain.artifact.values import ArtifactSummary
from gatehouse.domain.version.diff import Side, compare_versions, is_tokenizer
from gatehouse.domain.version.records import FileRecord


def file(path: str, sha256: str = "a") -> FileRecord:
    return FileRecord(path=path, size=1, etag="e", sha256=sha256 * 64)


def summary(**config: Any) -> ArtifactSummary:
    return ArtifactSummary(format="safetensors", files=1, total_bytes=1, config=ModelConfig(**config))


def evaluation(value: str, *, digest: str = worlds.DIGEST, at: str = "2026-11-20T00:00:00Z") -> ModelEvaluation:
    return ModelEvaluation.model_validate(
        {
            "metadata": {"name": f"e-{value}", "namespace": "team"},
            "spec": {
                "versionRef": {"name": "granite-1", "uid": "v-1"},
                "digest": digest,
                "kind": "Task",
                "suite": "lm-evaluation-harness",
                "task": "gsm8k",
                "dataset": {"name": "openai/gsm8k", "version": "3"},
                "evaluator": "ada",
                "evaluatedAt": at,
                "metrics": [{"name": "exact_match", "value": value}],
            },
        }
    )


def side(*, evaluations: tuple[ModelEvaluation, ...] = (), status: dict[str, Any] | None = None, **spec: Any) -> Side:
    found = {"artifact": {"digest": worlds.DIGEST, **(status or {})}}
    return Side(version=worlds.version(status=found, **spec), evaluations=evaluations)


def differing(a: Side, b: Side) -> dict[str, list[tuple[str, Any, Any]]]:
    found = compare_versions(a, b)
    return {
        name: [(each.field, each.a, each.b) for each in differences]
        for name, differences in found.items()
        if differences
    }


def test_each_section_tells_its_own_fields() -> None:
    a = side(
        version="1",
        lineage={"baseModel": "ibm/granite", "trainingData": ["x", "y"], "code": {"commit": "abcdef0"}},
        metrics={"loss": 1.5},
        serving={"maxModelLen": 8, "env": [{"name": "A", "value": "1"}]},
        status={"parameters": 7, "dtypes": {"BF16": 7}},
    )
    b = side(
        version="2",
        lineage={"baseModel": "ibm/granite", "trainingData": ["x"], "code": {"commit": "abcdef1"}},
        metrics={"loss": 1.25, "accuracy": 0.5},
        serving={"maxModelLen": 16, "env": [{"name": "A", "value": "2"}], "extraArgs": ["--enable-prefix-caching"]},
        status={"parameters": 8, "dtypes": {"BF16": 5, "F8_E4M3": 3}},
    )
    assert differing(a, b) == {
        "version": [("version", "1", "2")],
        "lineage": [("trainingData", "x, y", "x"), ("code.commit", "abcdef0", "abcdef1")],
        "metrics": [("loss", 1.5, 1.25), ("accuracy", None, 0.5)],
        "serving": [
            ("maxModelLen", 8, 16),
            ("extraArgs", None, "--enable-prefix-caching"),
            ("env.A.value", "1", "2"),
        ],
        "artifact": [("parameters", 7, 8), ("dtypes.BF16", 7, 5), ("dtypes.F8_E4M3", None, 3)],
    }


def test_only_the_newest_evaluation_of_the_own_bytes_is_compared() -> None:
    a = side(evaluations=(evaluation("0.5", at="2026-11-21T00:00:00Z"), evaluation("0.4")))
    b = side(evaluations=(evaluation("0.5"), evaluation("0.9", digest=worlds.OTHER_DIGEST, at="2026-11-21T00:00:00Z")))
    assert differing(a, b) == {}
    c = side(evaluations=(evaluation("0.6"),))
    field = "Task gsm8k exact_match on openai/gsm8k@3"
    assert differing(a, c) == {"evaluations": [(field, "0.5", "0.6")]}


def test_rows_are_compared_only_where_both_have_them() -> None:
    version = worlds.version()
    files = {each.path: each for each in (file("model.safetensors"), file("chat_template.jinja"), file("config.json"))}
    a = Side(version=version, summary=summary(hidden_size=8, layer_types={"full": 2}), files=files)
    changed = {**files, "chat_template.jinja": file("chat_template.jinja", "b"), "extra.txt": file("extra.txt")}
    b = Side(version=version, summary=summary(hidden_size=16, layer_types={"full": 2}), files=changed)
    assert differing(a, b) == {
        "config": [("hidden_size", 8, 16)],
        "tokenizer": [("chat_template.jinja", "sha256:" + "a" * 64, "sha256:" + "b" * 64)],
        "files": [("extra.txt", None, "sha256:" + "a" * 64)],
    }
    assert not {"config", "tokenizer", "files"} & set(compare_versions(a, Side(version=version)))


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("tokenizer.json", True),
        ("tokenizer_config.json", True),
        ("tokenizer.model", True),
        ("chat_template.jinja", True),
        ("chat_template.json", True),
        ("merges.txt", True),
        ("vocab.json", True),
        ("sub/tokenizer.json", True),
        ("config.json", False),
        ("model-00001-of-00002.safetensors", False),
        ("my-tokenizer.json", False),
    ],
)
def test_what_belongs_to_the_tokenizer(path: str, expected: bool) -> None:
    assert is_tokenizer(path) is expected


values: st.SearchStrategy[Any] = st.dictionaries(
    st.text(min_size=1, max_size=4), st.floats(allow_nan=False), max_size=4
)


@given(values, values)
def test_a_comparison_turned_round_is_the_same_turned_round(a: dict[str, float], b: dict[str, float]) -> None:
    there = compare_versions(side(metrics=a), side(metrics=b))["metrics"]
    back = compare_versions(side(metrics=b), side(metrics=a))["metrics"]
    assert {(each.field, each.a, each.b) for each in there} == {(each.field, each.b, each.a) for each in back}
    assert bool(there) == (a != b)
