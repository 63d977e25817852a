"""Small files of strangers beside each other, for a terminal."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatehouse.domain.common.text_diff import MOST_LINES, readable, unified

NAMES = ("team/a", "team/b")


def lines(path: str, a: bytes, b: bytes) -> list[str]:
    return list(unified(readable(path, a), readable(path, b), names=NAMES))


def test_json_is_compared_by_its_members() -> None:
    found = lines("config.json", b'{"a": 1, "b": [2, 3]}', b'{"a":1,"b":[2,4]}')

    assert found[:2] == ["--- team/a/config.json", "+++ team/b/config.json"]
    assert [line for line in found[3:] if line[0] in "+-"] == ["-    3", "+    4"]


def test_what_is_only_written_otherwise_is_the_same() -> None:
    assert lines("config.json", b'{"a": 1}', b'{ "a" : 1 }\n') == []


def test_a_chat_template_in_json_is_compared_line_by_line() -> None:
    def config(template: str) -> bytes:
        return json.dumps({"model_max_length": 8, "chat_template": template}).encode()

    found = lines("tokenizer_config.json", config("{% if a %}\nyes\n"), config("{% if a %}\nno\n"))

    assert found[0] == "--- team/a/tokenizer_config.json: chat_template"
    assert [line for line in found[3:] if line[0] in "+-"] == ["-yes", "+no"]


def test_a_file_that_one_side_lacks_is_new() -> None:
    found = list(unified({}, readable("chat_template.jinja", b"a\nb"), names=NAMES))

    assert found[3:] == ["+a", "+b"]


def test_what_would_move_a_cursor_is_shown_as_an_escape() -> None:
    (found,) = [line for line in lines("t.jinja", b"x", "\x1b[2Jx\u202e\r\xff".encode()) if line.startswith("+\\")]

    assert found == "+\\x1b[2Jx\\u202e\\rÿ"


def test_texts_with_too_many_lines_are_only_counted() -> None:
    (found,) = lines("t.jinja", b"", b"\n" * MOST_LINES)

    assert "too many to compare" in found


def test_a_long_difference_is_cut() -> None:
    found = lines("t.jinja", b"", b"\n".join(b"%d" % number for number in range(2_000)))

    assert (len(found), found[-1]) == (501, "... and 1504 more lines")


@pytest.mark.parametrize("path", ["config.json", "t.jinja"])
@given(a=st.binary(max_size=200), b=st.binary(max_size=200))
def test_rubbish_is_compared_too(path: str, a: bytes, b: bytes) -> None:
    for line in lines(path, a, b):
        assert all(each.isprintable() or each == "\t" for each in line)


@given(
    value=st.recursive(
        st.none() | st.text() | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_the_same_is_the_same(value: Any) -> None:
    data = json.dumps(value).encode()

    assert lines("config.json", data, data) == []
