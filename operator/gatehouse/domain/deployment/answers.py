"""What Prometheus answers: untrusted bytes become one number, or a reason why there is none."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final, Literal

from gatehouse.domain.common.bounded_json import JsonValue, loads
from gatehouse.domain.common.format_error import FormatError
from gatehouse.domain.common.text import one_line

__all__ = [
    "LARGEST_ANSWER",
    "AnswerKind",
    "QueryAnswer",
    "no_answer",
    "read_query_answer",
]

LARGEST_ANSWER: Final = 1_048_576
_LONGEST_WORDS: Final = 256
_MOST_ITEMS: Final = 10_000
_DEEPEST: Final = 8
_JSON: Final = re.compile(r"application/json\s*(;.*)?", re.IGNORECASE | re.DOTALL)
_NUMBER: Final = re.compile(r"[+-]?(?:[0-9]{1,40}(?:\.[0-9]{0,40})?|\.[0-9]{1,40})(?:[eE][+-]?[0-9]{1,4})?")
_INFINITE: Final = frozenset({"Inf", "+Inf", "-Inf"})

AnswerKind = Literal["Value", "Empty", "Unusable", "Invalid"]
"""Value: a finite number. Empty: no sample, or NaN, as a ratio without requests. Invalid: Prometheus does not parse the
query. Unusable: all else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryAnswer:
    """The answer to one query: a finite ``value``, or in ``problem`` why there is none."""

    kind: AnswerKind
    value: float = math.nan
    problem: str = ""


def no_answer(why: str) -> QueryAnswer:
    """An answer that did not come, or that says nothing."""
    return QueryAnswer(kind="Unusable", problem=_words(why))


def read_query_answer(*, status: int, content_type: str, body: bytes) -> QueryAnswer:
    """The answer of ``/api/v1/query``. Total: each input has an answer, and only a finite number is a value."""
    if 300 <= status < 400:
        return no_answer(f"HTTP {status}: a redirect is not followed")
    if _JSON.fullmatch(content_type) is None:
        return no_answer(f"HTTP {status} with the content type {content_type[:80]!r} and not application/json")
    try:
        answer = loads(body, what="the answer", max_bytes=LARGEST_ANSWER, max_depth=_DEEPEST, max_items=_MOST_ITEMS)
    except FormatError as error:
        return no_answer(f"HTTP {status} with an answer that does not read: {error.finding.found}")
    if not isinstance(answer, Mapping):
        return no_answer(f"HTTP {status} with an answer that is no object")
    if status != HTTPStatus.OK or answer.get("status") != "success":
        return _error(status, answer)
    data = answer.get("data")
    found = _result(data) if isinstance(data, Mapping) else no_answer("the answer has no data")
    if found.kind != "Unusable" and answer.get("warnings"):
        return no_answer(f"Prometheus warns: {_text(answer['warnings'])}")
    return found


def _error(status: int, answer: Mapping[str, JsonValue]) -> QueryAnswer:
    said = _text(answer.get("error"))
    if status == HTTPStatus.BAD_REQUEST and answer.get("errorType") == "bad_data":
        return QueryAnswer(kind="Invalid", problem=said)
    return no_answer(f"Prometheus answers HTTP {status}: {said}")


def _result(data: Mapping[str, JsonValue]) -> QueryAnswer:
    kind, result = data.get("resultType"), data.get("result")
    if kind == "scalar":
        return _sample(result)
    if kind != "vector" or not isinstance(result, list):
        return no_answer(f"the answer is a {_text(kind)}, and not a vector or a scalar")
    if not result:
        return QueryAnswer(kind="Empty", problem="the query has no result")
    if len(result) > 1:
        return no_answer("the query has more than one result: sum the results, or take the greatest")
    [series] = result
    return _sample(series.get("value") if isinstance(series, Mapping) else None)


def _sample(sample: JsonValue) -> QueryAnswer:
    text = sample[1] if isinstance(sample, list) and len(sample) == 2 else None
    if not isinstance(text, str):
        return no_answer("the result has no number")
    if text == "NaN":
        return QueryAnswer(kind="Empty", problem="the result is NaN")
    if text in _INFINITE or _NUMBER.fullmatch(text) is None or not math.isfinite(value := float(text)):
        return no_answer(f"the result is {_words(text)!r}, and not a finite number")
    return QueryAnswer(kind="Value", value=value)


def _text(value: JsonValue) -> str:
    while isinstance(value, list) and value:
        value = value[0]
    return _words(value) if isinstance(value, str) else "no words"


def _words(text: str) -> str:
    return one_line(text[:_LONGEST_WORDS])[:_LONGEST_WORDS]
