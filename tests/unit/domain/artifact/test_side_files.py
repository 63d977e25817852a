"""Configurations beside the model's own: odd ones pass, and none hides that it names code."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatehouse.domain.artifact.model_config import parse_config
from gatehouse.domain.artifact.side_files import NamesCode, read, read_document
from gatehouse.domain.common.format_error import FormatError
from modelfiles import outcome

NAMES = st.sampled_from(["auto_map", "\\u0061uto_map", "auto\\u005Fmap", "a", "autoXmap", "Auto_map", "auto_map "])
SCALARS = st.sampled_from(
    ["1", "1e999", "NaN", '"x"', '"\\ud800"', '"auto_map"', "null", '"\\"auto_map\\": 1"', "9" * 400]
)
SPACE = st.sampled_from(["", " ", "\n", "\t \r\n"])
VALUES: st.SearchStrategy[str] = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda items: f"[{','.join(items)}]"),
        st.lists(st.builds('{}"{}"{}:{}'.format, SPACE, NAMES, SPACE, inner), max_size=3).map(
            lambda members: f"{{{','.join(members)}}}"
        ),
    ),
    max_leaves=8,
)
NOISE = st.sampled_from([b"", b"\xef\xbb\xbf"])


def keys_of(text: str) -> set[str]:
    """Every key at any depth, of each of several members with one name too."""
    found: set[str] = set()

    def keep(pairs: list[tuple[str, Any]]) -> None:
        found.update(key for key, _ in pairs)

    json.loads(text, object_pairs_hook=keep)
    return found


@pytest.mark.parametrize(
    ("document", "declared"),
    [
        ({}, False),
        ({"note": "auto_map"}, False),
        ({"auto_map": {"AutoModel": "modeling.X"}}, True),
        ({"auto_map": None}, True),
        ({"text_config": {"auto_map": {}}}, True),
        ({"parts": [[{"auto_map": 1}]]}, True),
    ],
)
def test_code_is_named_at_any_level(document: dict[str, Any], declared: bool) -> None:
    """By config.json as by what lies beside it."""
    data = json.dumps(document).encode()
    assert read_document(data) == (document, NamesCode(names_code=declared))
    assert parse_config(data).auto_map is declared


FIELDS = st.sampled_from(["auto_map", "tokenizer_class", "quantization_config", "text_config"])
MEMBERS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)


@given(st.dictionaries(FIELDS, MEMBERS | st.dictionaries(FIELDS, MEMBERS, max_size=2), max_size=4))
def test_any_object_is_read(document: dict[str, Any]) -> None:
    found, named = read_document(json.dumps(document).encode())
    inner = [member for member in document.values() if isinstance(member, dict)]
    assert named.names_code is any("auto_map" in part for part in (document, *inner))
    assert found.keys() == document.keys()


@given(text=VALUES.filter(lambda text: text.startswith("{")), mark=NOISE, latin=st.booleans())
def test_code_is_named_whatever_else_is_odd(text: str, mark: bytes, latin: bool) -> None:
    """Differential: what any reader may find under ``auto_map``, the first of two members as well as the last."""
    data = mark + text.encode() + b" "
    if latin:
        data = data.replace(b'"x"', b'"\xe9"')
    found = outcome(read, data)
    assert isinstance(found, NamesCode)
    if "auto_map" in keys_of(text):
        assert found.names_code


@given(data=st.binary(max_size=120) | st.text('{}[]":,auto_map\\u0061 \ufeff\u00e9', max_size=60).map(str.encode))
def test_rubbish_is_refused_or_read(data: bytes) -> None:
    assert isinstance(outcome(read, data), NamesCode | FormatError)
