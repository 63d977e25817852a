"""Model cards: what is taken from them, what is left out and named, and that rubbish does no harm."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatehouse.domain import yamlbound
from gatehouse.domain.format_error import FormatError
from gatehouse.domain.model_card import MAX_CARD, ModelCard, parse_card

GRANITE = b"""---
language:
- en
- no
- de
license: apache-2.0
library_name: transformers
pipeline_tag: text-generation
tags:
- fp8
- vllm
- text-generation
- summarization
base_model: ibm-granite/granite-3.1-8b-instruct
datasets: [a/b]
---

# Granite

license: mit
"""


def card(head: bytes) -> ModelCard:
    return parse_card(b"---\n" + head + b"\n---\n")


def rule(data: bytes) -> str:
    with pytest.raises(FormatError) as raised:
        parse_card(data)
    return raised.value.rule


def test_what_a_card_says_is_taken_and_norwegian_stays_a_language() -> None:
    assert parse_card(GRANITE) == ModelCard(
        license="Apache-2.0",
        tasks=("text-generation", "summarization"),
        languages=("en", "no", "de"),
        base_models=("ibm-granite/granite-3.1-8b-instruct",),
        datasets=("a/b",),
        library="transformers",
    )


@pytest.mark.parametrize(
    "data", [b"", b"# Granite\n", b"text\n---\nlicense: mit\n---\n", b"---\n---\n", b"----\na: b\n---"]
)
def test_a_card_without_a_head_says_nothing(data: bytes) -> None:
    assert parse_card(data) == ModelCard()


@pytest.mark.parametrize("newline", [b"\r\n", b"\n"])
@pytest.mark.parametrize("before", [b"", b"\xef\xbb\xbf", b"\n\n"])
def test_line_ends_and_marks_of_other_systems_are_read(before: bytes, newline: bytes) -> None:
    assert parse_card(before + b"---\nlicense: mit\n---\nx\n".replace(b"\n", newline)).license == "MIT"


@pytest.mark.parametrize(
    ("head", "license_"),
    [
        (b"license: MIT", "MIT"),
        (b"license: cc-by-nc-4.0", "CC-BY-NC-4.0"),
        (b"license: llama3.1", "llama3.1"),
        (b"license: other\nlicense_name: health-ai", "health-ai"),
        (b"license: other", "other"),
        (b"license_name: mine", "mine"),
        (b"license:\n- apache-2.0", "Apache-2.0"),
        (b"license:", None),
    ],
)
def test_licences_are_spdx_where_there_is_one(head: bytes, license_: str | None) -> None:
    assert card(head).license == license_


def test_what_is_not_as_it_should_be_is_left_out_and_named() -> None:
    found = card(b'language: [en, "d\\u0007", {a: b}]\nbase_model: {x: y}\ndatasets: ' + b"d" * 600)
    assert (found.languages, found.base_models, found.datasets) == (("en",), (), ())
    assert [note.partition(":")[0] for note in found.notes] == ["language", "language", "base_model", "datasets"]
    assert "\a" not in "".join(found.notes)


def test_more_values_than_are_taken_are_said() -> None:
    found = card(b"datasets: [" + b",".join(b"d%d" % number for number in range(300)) + b"]")
    assert len(found.datasets) == 256
    assert found.notes == ("datasets: 300 values; only the first 256 are taken",)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"---\nlicense: mit\n", "CardUnclosed"),
        (b"---\nlicense: mit\n" + b"x" * 2 * MAX_CARD + b"\n---\n", "CardUnclosed"),
        (b"---\n- a\n---\n", "CardInvalid"),
        (b"---\na: [\n---\n", "YamlInvalid"),
        (b"---\na: \xff\n---\n", "YamlInvalid"),
        (b"---\na: &x [b]\nc: *x\n---\n", "YamlAlias"),
        (b"---\na: " + b"[" * 100_000 + b"\n---\n", "YamlTooDeep"),
        (b"---\na:\n" + b"- b\n" * 200_000 + b"---\n", "YamlTooManyItems"),
        (b"---\n? [a]\n: b\n---\n", "YamlInvalid"),
    ],
)
def test_a_head_that_cannot_be_read_is_refused_by_rule(data: bytes, expected: str) -> None:
    assert rule(data) == expected


def test_no_object_is_made_of_a_tag() -> None:
    assert card(b"license: !!python/object/apply:os.abort []").license is None


@given(st.binary(max_size=300))
def test_rubbish_is_a_card_or_a_format_error(data: bytes) -> None:
    for each in (data, b"---\n" + data + b"\n---\n"):
        try:
            found = parse_card(each)
        except FormatError:
            continue
        texts = [*found.tasks, *found.languages, *found.base_models, *found.datasets, found.license or "x"]
        assert all(text and text.isprintable() and len(text) <= 512 for text in texts)


_TEXT = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20)
_MEMBERS = st.recursive(_TEXT, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXT, inner, max_size=3))


@given(st.dictionaries(st.sampled_from(["license", "language", "tags", "pipeline_tag", "base_model"]), _MEMBERS))
def test_members_of_any_shape_are_taken_or_noted(members: dict[str, object]) -> None:
    found = card(orjson.dumps(members))  # JSON is YAML
    assert all(note.partition(":")[0] in members for note in found.notes)


def test_documents_of_plain_data_are_bounded_alike() -> None:
    assert yamlbound.load_documents(b"a: 1\n---\nb: [true]\n", what="x", max_bytes=100) == [{"a": 1}, {"b": [True]}]
    for data, expected in (
        (b"a: &x 1\nb: *x", "YamlAlias"),
        (b"a: " + b"9" * 5000, "YamlInvalid"),
        (b"!!python/object/apply:os.abort []", "YamlTag"),
        (b"a: !!int ''", "YamlTag"),
        (b"%TAG !a! b\n---\na: b", "YamlDirective"),
        (b"a: " + b"1:" * 200 + b"1.0", "YamlInvalid"),
        (b"a" * 101, "YamlTooLarge"),
    ):
        with pytest.raises(FormatError) as raised:
            yamlbound.load_documents(data, what="x", max_bytes=100 if expected == "YamlTooLarge" else 10_000)
        assert raised.value.rule == expected
