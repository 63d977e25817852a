from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatehouse.domain.common import bounded_json
from gatehouse.domain.common.format_error import FormatError, shown
from modelfiles import outcome


def loads(data: bytes, **limits: object) -> bounded_json.JsonValue:
    bounds = {"what": "x.json", "max_bytes": 10_000, "max_depth": 8, "max_items": 100, **limits}
    return bounded_json.loads(data, **bounds)  # type: ignore[arg-type]


def refused(data: bytes, **limits: object) -> FormatError:
    error = outcome(loads, data, **limits)
    assert isinstance(error, FormatError)
    return error


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(JSON, st.booleans())
def test_reads_what_python_writes(value: object, ascii_only: bool) -> None:
    data = json.dumps(value, ensure_ascii=ascii_only).encode()
    assert loads(data, max_depth=20) == value


@given(st.binary(max_size=200) | st.text(alphabet='{}[]",:\\u0189d ntrue', max_size=60).map(str.encode))
def test_arbitrary_bytes_raise_nothing_but_format_errors(data: bytes) -> None:
    match outcome(loads, data):
        case FormatError() as error:
            assert error.finding.reason.startswith("Json")
            assert len(str(error)) < 1000
        case value:
            assert json.loads(data) == value or "NaN" in data.decode()


@pytest.mark.parametrize(
    ("data", "rule"),
    [
        (b"", "JsonInvalid"),
        (b"{", "JsonInvalid"),
        (b"{} x", "JsonInvalid"),
        (b"\xef\xbb\xbf{}", "JsonInvalid"),
        (b'"\xff"', "JsonInvalid"),
        (b'"\\ud800"', "JsonInvalid"),
        (b'{"\\udc00\\ud800": 1}', "JsonInvalid"),
        (b"1e999", "JsonInvalid"),
        (b"9" * 400, "JsonInvalid"),
        (b"9" * 6000, "JsonInvalid"),
        (b'{"a": 1, "b": {"c": 1, "c": 2}}', "JsonDuplicateKey"),
        (b"[" * 9 + b"]" * 9, "JsonTooDeep"),
        (b"[" * 9000, "JsonTooDeep"),
        (b"[" + b"0," * 101 + b"0]", "JsonTooManyItems"),
        (b" " * 10_001, "JsonTooLarge"),
    ],
)
def test_refuses(data: bytes, rule: str) -> None:
    error = refused(data)
    assert error.finding.reason == rule
    assert "x.json" in error.finding.found


def test_punctuation_in_strings_is_text() -> None:
    text = '[{"' * 50 + "," * 200 + "\\"
    assert loads(json.dumps([text]).encode()) == [text]


def test_depth_bound_is_exact() -> None:
    assert loads(b"[" * 8 + b"]" * 8)
    assert refused(b'["]]]]",' + b"[" * 8 + b"]" * 9).finding.reason == "JsonTooDeep"


def test_duplicate_keys_and_constants_are_options() -> None:
    assert loads(b'{"a": 1, "a": 2}', unique_keys=False) == {"a": 2}
    assert loads(b"[Infinity]") == [math.inf]
    assert refused(b"[NaN]", constants=False).finding.reason == "JsonInvalid"


def test_minus_zero_is_no_integer() -> None:
    assert type(loads(b"-0")) is float


def test_shown_is_bounded_and_escaped() -> None:
    assert shown("a\n\u202e\ud800") == "'a\\n\\u202e\\ud800'"
    for value in ("x" * 10**6, b"x" * 10**6, 10**300, ["y" * 500] * 500, {"k" * 500: [1] * 500}):
        assert len(shown(value)) <= 200


ODD_TEXT = st.text(alphabet='{}[]",:\\u0189d ntrue.e4', max_size=60).map(str.encode)


@given(JSON.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=100) | ODD_TEXT)
def test_what_is_sound_is_read_leniently_alike_and_what_is_no_json_is_refused_alike(data: bytes) -> None:
    """Differential: lenient reading takes more, and where both take it there is no difference."""
    bounds = {"what": "x", "max_bytes": 10_000, "max_depth": 20}
    strict = outcome(bounded_json.loads, data, **bounds)
    lenient = outcome(bounded_json.loads_leniently, data, **bounds)
    if not isinstance(strict, FormatError):
        assert not isinstance(lenient, FormatError)
        assert (repr(lenient[0]), lenient[1]) == (repr(strict), ())
    elif not isinstance(lenient, FormatError):
        assert lenient[1], "what strict reading refuses is odd, and named"


def test_odd_parts_are_left_out_and_named() -> None:
    text = b'\xef\xbb\xbf{"a": 1, "a": 2, "b": [1e999, -1e999], "c": "\xe9", "d": "\\udc00x", "e": {"f": 1, "f": 1}}'
    value, odd = bounded_json.loads_leniently(text, what="x", max_bytes=1000)
    assert value == {"b": [math.inf, -math.inf], "c": "\ufffd", "d": "\ufffdx", "e": {}}
    assert odd == (
        "a byte order mark",
        "bytes that are not UTF-8",
        "the number '1e999'",
        "the number '-1e999'",
        "the key 'f' 2 times: ignored",
        "the key 'a' 2 times: ignored",
        "half of a surrogate pair",
    )


@pytest.mark.parametrize("data", [b"", b"{", b"{} x", b'{"a" 1}', b"[" * 100, b"\xff\xfe{}", b'"' + b"a" * 2000 + b'"'])
def test_what_is_no_json_or_too_large_is_refused_leniently_too(data: bytes) -> None:
    assert isinstance(outcome(bounded_json.loads_leniently, data, what="x", max_bytes=1000), FormatError)
