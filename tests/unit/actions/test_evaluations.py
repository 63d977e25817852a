"""Result files of lm-evaluation-harness: what counts is read, what is odd is told, what is hostile is refused."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import worlds
from gatehouse.actions.evaluations import Import, evaluations, run_notes
from gatehouse.actions.identity import Person
from gatehouse.api.model_evaluation import ModelEvaluation
from gatehouse.domain.common.format_error import FormatError
from gatehouse.domain.governance.lm_eval import MAX_RESULTS, number_text, parse_results
from gatehouse.errors import Refused

SAMPLE = (Path(__file__).parent / "results.json").read_bytes()
VALUE = r"-?[0-9]{1,12}(\.[0-9]{1,17})?([eE][-+]?[0-9]{1,2})?"


def options(**changes: Any) -> Import:
    version = worlds.version(status={"artifact": {"digest": worlds.DIGEST}})
    given_: dict[str, Any] = {"version": version, "person": Person(name="ada"), "now": worlds.NOW}
    return Import(**{**given_, **changes})


def specs(**changes: Any) -> dict[str, Any]:
    made = evaluations(parse_results(SAMPLE), options(**changes))
    return {each["spec"]["task"]: ModelEvaluation.model_validate(each).spec for each in made}


def test_a_file_of_the_harness_is_read() -> None:
    run = parse_results(SAMPLE)
    assert run.at == datetime.fromtimestamp(1763726400, UTC)
    assert (run.harness, run.model, run.limit) == ("0.4.9.2", "granite-3.1-8b-instruct-FP8-dynamic", None)
    assert run.empty == ("harness_overview",)
    tasks = {task.name: task for task in run.tasks}
    gsm8k = tasks["gsm8k"]
    assert [(each.name, each.value, each.stderr) for each in gsm8k.metrics] == [
        ("exact_match,strict-match", "0.7050796057619408", "1.2560698010954774e-02"),
        ("exact_match,flexible-extract", "0.7149355572403336", "1.2430399829260839e-02"),
    ]
    assert (gsm8k.dataset, gsm8k.version, gsm8k.shots, gsm8k.samples) == ("openai/gsm8k/main", "3.0", 5, (1319, 1319))
    assert gsm8k.dataset_revision == "e53f048856ff4f594e959d75785d2c2d37b678ee"
    assert tasks["mmlu_mini"].version is None
    assert [(each.name, each.stderr) for each in tasks["truthfulqa_gen"].metrics] == [("bleu_max", None)]
    assert tasks["truthfulqa_gen"].left_out == ("rougeL_diff",)


def test_one_evaluation_a_task_for_the_bytes_as_they_are() -> None:
    made = specs()
    assert set(made) == {"mmlu_mini", "mmlu_law", "mmlu_virology", "gsm8k", "truthfulqa_gen"}
    gsm8k = made["gsm8k"]
    assert (gsm8k.digest, gsm8k.version_ref.uid, gsm8k.evaluator) == (worlds.DIGEST, "v-1", "ada")
    assert (gsm8k.kind, gsm8k.suite, gsm8k.suite_version) == ("Task", "lm-evaluation-harness", "0.4.9.2")
    assert gsm8k.dataset.name == "openai/gsm8k/main"
    assert gsm8k.dataset.version == "e53f048856ff4f594e959d75785d2c2d37b678ee"
    assert gsm8k.notes == ("model granite-3.1-8b-instruct-FP8-dynamic; 5-shot; 1319 of 1319 samples; task version 3.0")
    slices = {each.name: each.value for each in made["mmlu_mini"].metrics[0].slices}
    assert slices == {"mmlu_law": "0.5", "mmlu_virology": "0.6"}
    assert "do-not-copy" not in str(made)


def test_the_same_file_makes_the_same_objects() -> None:
    names = [[each["metadata"]["name"] for each in evaluations(parse_results(SAMPLE), options())] for _ in range(2)]
    assert names[0] == names[1]
    assert len(set(names[0])) == len(names[0])
    dns = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")
    assert all(dns.fullmatch(name) and len(name) <= 253 for name in names[0])
    other = evaluations(parse_results(SAMPLE), options(person=Person(name="bob")))
    assert not {each["metadata"]["name"] for each in other} & set(names[0])


def test_options_choose_tasks_kind_and_data_set() -> None:
    made = specs(tasks=["gsm8k"], kind="Safety", dataset="our-questions", dataset_version="7")
    assert set(made) == {"gsm8k"}
    assert (made["gsm8k"].kind, made["gsm8k"].dataset.name, made["gsm8k"].dataset.version) == (
        "Safety",
        "our-questions",
        "7",
    )


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"tasks": ["nothing"]}, "--task is nothing; expected: a task of the file: gsm8k"),
        ({"now": datetime(2024, 1, 1, tzinfo=UTC)}, "in the future; it would not count"),
        ({"version": worlds.version()}, "has no digest yet (not reconciled yet)"),
        ({"report_url": "ftp://nowhere"}, "report_url is 'ftp://nowhere'"),
        (
            {
                "version": worlds.version(
                    status={
                        "phase": "Artifact Changed",
                        "artifact": {"digest": worlds.DIGEST},
                        "recordedDigest": worlds.OTHER_DIGEST,
                    }
                )
            },
            "is Artifact Changed",
        ),
    ],
)
def test_what_would_not_count_is_refused(changes: dict[str, Any], expected: str) -> None:
    with pytest.raises(Refused, match=re.escape(expected)):
        evaluations(parse_results(SAMPLE), options(**changes))


def test_a_file_without_a_date_needs_one() -> None:
    plain = json.dumps({"results": {"arc": {"acc": 0.5, "acc_stderr": 0.1}}}).encode()
    run = parse_results(plain)
    with pytest.raises(Refused, match="--evaluated-at"):
        evaluations(run, options())
    (made,) = evaluations(run, options(evaluated_at=worlds.NOW))
    assert made["spec"]["metrics"] == [{"name": "acc", "value": "0.5", "stderr": "0.1", "slices": []}]
    assert made["spec"]["dataset"] == {"name": "arc"}


def test_a_trial_is_told() -> None:
    whole = json.loads(SAMPLE)
    whole["config"]["limit"] = 10
    run = parse_results(json.dumps(whole).encode())
    notes = list(run_notes(run))
    assert "the run was limited (10 samples a task): a trial, not an evaluation" in notes
    assert "truthfulqa_gen: no number in rougeL_diff" in notes
    assert "nothing was measured in: harness_overview" in notes


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ([], "expected a JSON object"),
        ({}, "no member results"),
        ({"results": {}}, "0 results"),
        ({"results": []}, "as results"),
    ],
)
def test_what_is_not_of_the_format_is_refused_by_name(document: object, expected: str) -> None:
    with pytest.raises(FormatError) as refused:
        parse_results(json.dumps(document).encode())
    assert expected in str(refused.value)


FINE = {"acc": 1}
"""A metric of a task ``fine`` that is kept whatever is beside it."""


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"results": {"a": 1}}, "results of 'a'"),
        ({"results": {"": {}}}, "the name of a task"),
        ({"results": {"a\u0000": {}}}, "the name of a task"),
        ({"results": {"a": {"m" * 200: 1}}}, "a metric of 'a'"),
        ({"results": {"a": {f"m{i}": 1 for i in range(65)}}}, "a: no number in m64"),
        ({"results": {"a": {"acc": 0.5, "acc,none": 0.6, "f1": 1}}}, "a: no number in acc"),
        ({"date": "yesterday"}, "'yesterday' as date"),
        ({"date": 1e300}, "as date"),
        ({"date": [1]}, "[1] as date"),
        ({"versions": []}, "as versions"),
        ({"versions": {"fine": True}}, "True as fine"),
        ({"n-shot": {"fine": -1}}, "-1 as n-shot of 'fine'"),
        ({"n-samples": {"fine": 7}}, "7 as n-samples of 'fine'"),
        ({"n-samples": {"fine": {"effective": 1.5}}}, "1.5 as n-samples of 'fine'"),
        ({"group_subtasks": {"fine": "b"}}, "in group_subtasks"),
        ({"group_subtasks": {"fine": [1, "b"]}}, "1 as group_subtasks"),
        ({"lm_eval_version": {}}, "as lm_eval_version"),
        ({"configs": {"fine": {"dataset_path": ["x"]}}}, "as dataset_path"),
        ({"configs": {"fine": {"dataset_path": "p" * 200}}}, "as dataset_path"),
        ({"configs": {"fine": {"dataset_path": "p" * 100, "dataset_name": "n" * 100}}}, "as dataset_path"),
        ({"configs": {"fine": {"dataset_path": "p", "dataset_name": True}}}, "True as dataset_name"),
        ({"configs": {"fine": 3}}, "3 as configs of 'fine'"),
        ({"config": "x"}, "'x' as config"),
    ],
)
def test_what_is_odd_is_left_out_and_named_and_the_rest_is_kept(document: dict[str, Any], expected: str) -> None:
    whole = {**document, "results": {"fine": FINE, **document.get("results", {})}}
    run = parse_results(json.dumps(whole).encode())
    kept = {task.name: task for task in run.tasks}["fine"]
    assert [(each.name, each.value) for each in kept.metrics] == [("acc", "1")]
    assert (kept.dataset, kept.version, kept.shots, kept.samples) == (None, None, None, None)
    said = "\n".join(run_notes(run))
    assert expected.replace("in group_subtasks", "as group_subtasks") in said
    assert run.at is None


def test_a_key_that_is_there_twice_has_no_value() -> None:
    """Neither of two numbers was measured more than the other."""
    results = b'{"a": {"acc": 0.9, "acc": 0.1, "f1": 0.5}, "b": {"acc": 1}, "b": {"acc": 2}}'
    run = parse_results(b'{"results": ' + results + b', "date": 1, "date": 2}')
    [task] = run.tasks
    assert [each.name for each in task.metrics] == ["f1"]
    assert run.at is None
    assert [note.partition(":")[0] for note in run.odd] == [
        "the key 'acc' 2 times",
        "the key 'b' 2 times",
        "the key 'date' 2 times",
    ]


@pytest.mark.parametrize(
    ("text", "odd"),
    [
        (b'\xef\xbb\xbf{"results": {"a": {"acc": 0.5}}}', "a byte order mark"),
        (b'{"results": {"a": {"acc": 0.5, "huge": 1e400}}}', "the number '1e400'"),
        (b'{"results": {"a": {"acc": 0.5, "huge": ' + b"9" * 5000 + b"}}}", "the number"),
        (b'{"results": {"a": {"acc": 0.5}, "\xe9t\xe9": {"acc": 1}}}', "not UTF-8"),
        (b'{"results": {"a": {"acc": 0.5}, "\\ud800": {"acc": 1}}}', "half of a surrogate pair"),
        (b'{"results": {"a": {"acc": 0.5, "nan": NaN, "inf": -Infinity}}}', ""),
    ],
)
def test_a_file_that_is_odd_as_json_is_read_all_the_same(text: bytes, odd: str) -> None:
    run = parse_results(text)
    assert [(task.name, [each.name for each in task.metrics]) for task in run.tasks] == [("a", ["acc"])]
    assert odd in "; ".join(run.odd)


def test_files_of_other_releases_and_of_lighteval_are_read() -> None:
    lighteval = {
        "config_general": {"model_name": "x/y"},
        "results": {"leaderboard|gsm8k|5": {"qem": 0.5, "qem_stderr": 0.01}, "all": {"qem": 0.5}},
        "versions": {"leaderboard|gsm8k|5": 0},
    }
    run = parse_results(json.dumps(lighteval).encode())
    assert (run.model, run.odd) == ("x/y", ())
    assert [(task.name, task.version) for task in run.tasks] == [("leaderboard|gsm8k|5", "0"), ("all", None)]
    number = {"results": {"a": {"acc,none": 0.5}}, "configs": {"a": {"dataset_path": "my/data", "dataset_name": 2024}}}
    assert parse_results(json.dumps(number).encode()).tasks[0].dataset == "my/data/2024"
    of_classes = {"results": {"a": {"acc,none": 0.5, "per_class,none": {"x": 1}, "confusion,none": [[1, 2]]}}}
    assert parse_results(json.dumps(of_classes).encode()).tasks[0].left_out == ("per_class", "confusion")


@pytest.mark.parametrize("limit", [10, 0.5, "10", "all", True, [1]])
def test_a_run_with_any_limit_is_told_as_a_trial(limit: object) -> None:
    run = parse_results(json.dumps({"results": {"a": {"acc": 1}}, "config": {"limit": limit}}).encode())
    assert any("a trial" in note for note in run_notes(run))


def test_a_file_that_is_too_large_is_not_decoded() -> None:
    with pytest.raises(FormatError, match="JsonTooLarge"):
        parse_results(b" " * (MAX_RESULTS + 1))


@given(st.floats(allow_nan=True, allow_infinity=True) | st.integers(-(10**40), 10**40))
def test_a_number_reads_back_as_it_was_or_is_left_out(value: float) -> None:
    text = number_text(value)
    if text is None:
        assert value != value or abs(value) == float("inf") or not 1e-99 <= abs(value) <= 1e99  # noqa: PLR0124
    else:
        assert re.fullmatch(VALUE, text)
        assert float(text) == float(value)


json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=12,
)
names = st.sampled_from(["gsm8k", "mmlu", "acc,none", "acc_stderr,none", "alias", "dataset_path", "revision", "limit"])
near = json_values | st.dictionaries(names, json_values | st.dictionaries(names, json_values, max_size=4), max_size=4)
parts = ("configs", "versions", "n-shot", "n-samples", "group_subtasks", "config", "date", "lm_eval_version")
measured = st.dictionaries(names, st.floats() | st.integers() | st.just("N/A"), max_size=4)
results = st.dictionaries(names, measured, min_size=1, max_size=3)


@given(results | near, st.dictionaries(st.sampled_from(parts), near, max_size=3))
def test_whatever_is_in_it_nothing_but_a_format_error_comes_of_it(found: Any, others: dict[str, Any]) -> None:
    try:
        run = parse_results(json.dumps({"results": found, **others}).encode())
    except FormatError:
        return
    assert all(re.fullmatch(VALUE, each.value) for task in run.tasks for each in task.metrics)
    late = datetime(9999, 12, 30, tzinfo=UTC)
    if run.tasks and (run.at is None or run.at <= late):
        for made in evaluations(run, options(evaluated_at=worlds.NOW, now=late)):
            ModelEvaluation.model_validate(made)


@given(st.binary(max_size=64))
def test_rubbish_is_refused(data: bytes) -> None:
    with pytest.raises(FormatError):
        parse_results(data)
