"""What Prometheus answers: only a finite number is a value, and each input has an answer."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakeprometheus import vector
from gatehouse.domain.common.text import is_plain
from gatehouse.domain.deployment.answers import LARGEST_ANSWER, AnswerKind, QueryAnswer, read_query_answer


def read(body: Any, *, status: int = 200, content_type: str = "application/json") -> QueryAnswer:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return read_query_answer(status=status, content_type=content_type, body=data)


def success(kind: str, result: Any, **more: Any) -> dict[str, Any]:
    return {"status": "success", "data": {"resultType": kind, "result": result}, **more}


@pytest.mark.parametrize(
    ("text", "value"), [("0", 0.0), ("1.5", 1.5), ("-3e-7", -3e-7), ("1e+06", 1e6), ("+.5", 0.5), ("5.", 5.0)]
)
def test_a_vector_with_one_sample_and_a_scalar_are_values(text: str, value: float) -> None:
    assert read(vector(text)) == QueryAnswer(kind="Value", value=value)
    assert read(success("scalar", [1.0, text])) == QueryAnswer(kind="Value", value=value)
    assert read(vector(text), content_type="application/json; charset=utf-8").kind == "Value"
    assert read({**vector(text), "infos": ["not a counter"], "warnings": []}).kind == "Value"


@pytest.mark.parametrize(
    ("answer", "kind", "found"),
    [
        (vector(None), "Empty", "the query has no result"),
        (vector("NaN"), "Empty", "the result is NaN"),
        (success("scalar", [1.0, "NaN"]), "Empty", "the result is NaN"),
        (vector("+Inf"), "Unusable", "'+Inf', and not a finite number"),
        (vector("-Inf"), "Unusable", "'-Inf', and not a finite number"),
        (vector("1e999"), "Unusable", "not a finite number"),
        (vector("nan"), "Unusable", "'nan', and not a finite number"),
        (vector("infinity"), "Unusable", "not a finite number"),
        (vector("1_0"), "Unusable", "not a finite number"),
        (vector("٣"), "Unusable", "not a finite number"),
        (vector(" 1"), "Unusable", "not a finite number"),
        (vector("0x1"), "Unusable", "not a finite number"),
        (vector(""), "Unusable", "not a finite number"),
        (vector("1" * 100), "Unusable", "not a finite number"),
        (success("vector", [{"metric": {}, "value": [1, 1.5]}]), "Unusable", "the result has no number"),
        (success("vector", [{"metric": {}, "value": [1, None]}]), "Unusable", "the result has no number"),
        (success("vector", [{"metric": {}, "value": [1, "1", "1"]}]), "Unusable", "the result has no number"),
        (success("vector", [{"metric": {}, "histogram": [1, {"count": "1"}]}]), "Unusable", "has no number"),
        (success("vector", ["1"]), "Unusable", "the result has no number"),
        (success("vector", {"value": [1, "1"]}), "Unusable", "is a vector, and not a vector or a scalar"),
        (success("vector", vector(1)["data"]["result"] * 2), "Unusable", "the query has more than one result"),
        (success("string", [1, "1"]), "Unusable", "the answer is a string, and not a vector or a scalar"),
        (success("matrix", [{"values": [[1, "1"]]}]), "Unusable", "the answer is a matrix"),
        (success("scalar", "1"), "Unusable", "the result has no number"),
        (success("vector", None), "Unusable", "and not a vector or a scalar"),
        ({"status": "success"}, "Unusable", "the answer has no data"),
        ({"status": "success", "data": []}, "Unusable", "the answer has no data"),
        ({**vector("1"), "warnings": ["results truncated"]}, "Unusable", "Prometheus warns: results truncated"),
        ({**vector(None), "warnings": ["partial"]}, "Unusable", "Prometheus warns: partial"),
        ({**vector("1"), "warnings": {"a": 1}}, "Unusable", "Prometheus warns: no words"),
        ({**vector("1"), "status": "error"}, "Unusable", "Prometheus answers HTTP 200: no words"),
        ([vector("1")], "Unusable", "HTTP 200 with an answer that is no object"),
        (b"", "Unusable", "HTTP 200 with an answer that does not read"),
        (b'{"status":"success","status":"success"}', "Unusable", "does not read"),
        (b"[" * 1000, "Unusable", "does not read"),
        (b'{"status":"success"' + b" " * LARGEST_ANSWER + b"}", "Unusable", "does not read"),
        (b"\xff\xfe", "Unusable", "does not read"),
    ],
)
def test_all_else_is_no_value_and_says_why(answer: Any, kind: AnswerKind, found: str) -> None:
    read_answer = read(answer)
    assert (read_answer.kind, math.isnan(read_answer.value)) == (kind, True)
    assert found in read_answer.problem


@pytest.mark.parametrize(
    ("status", "error", "kind"),
    [
        (400, "bad_data", "Invalid"),
        (400, "execution", "Unusable"),
        (422, "bad_data", "Unusable"),
        (422, "execution", "Unusable"),
        (503, "timeout", "Unusable"),
        (200, "bad_data", "Unusable"),
        (401, "bad_data", "Unusable"),
    ],
)
def test_only_bad_data_of_http_400_is_a_query_that_does_not_parse(status: int, error: str, kind: AnswerKind) -> None:
    answer = read({"status": "error", "errorType": error, "error": "1:5: parse error"}, status=status)
    assert (answer.kind, "1:5: parse error" in answer.problem) == (kind, True)


@pytest.mark.parametrize("status", [201, 204, 206, 301, 302, 307, 400, 403, 404, 429, 500, 503])
def test_a_good_body_with_another_status_is_no_value(status: int) -> None:
    assert read(vector("1"), status=status).kind == "Unusable"


@pytest.mark.parametrize(
    "content_type", ["", "text/html", "text/json", "application/jsonp", "text/html; application/json"]
)
def test_another_content_type_is_no_value(content_type: str) -> None:
    answer = read(vector("1"), content_type=content_type)
    assert (answer.kind, "content type" in answer.problem) == ("Unusable", True)


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.just("success")),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(
            st.sampled_from(["status", "data", "resultType", "result", "value", "metric", "warnings", "error"]), inner
        ),
    ),
    max_leaves=20,
)
HOSTILE = st.one_of(
    st.binary(max_size=200),
    JSON.map(lambda value: json.dumps(value).encode()),
    JSON.map(lambda value: json.dumps(success("vector", value)).encode()),
    JSON.map(lambda value: json.dumps(success("scalar", [1, value])).encode()),
    JSON.map(lambda value: json.dumps({**vector("1"), "warnings": value}).encode()),
    st.text(max_size=20).map(lambda text: json.dumps(vector(text)).encode()),
)


@given(HOSTILE, st.integers(100, 599), st.sampled_from(["application/json", "text/html", ""]))
def test_each_input_has_an_answer_that_is_safe_to_show(body: bytes, status: int, content_type: str) -> None:
    answer = read_query_answer(status=status, content_type=content_type, body=body)
    if answer.kind == "Value":
        assert (status, content_type) == (200, "application/json")
        assert math.isfinite(answer.value)
        assert json.loads(body)["status"] == "success"
    else:
        assert answer.problem
        assert math.isnan(answer.value)
    assert is_plain(answer.problem)
    assert "\n" not in answer.problem
    assert len(answer.problem) <= 256
