"""Model cards: what is taken from them, what is left out and named, and that rubbish does no harm."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatehouse.domain.artifact.model_card import MAX_CARD, ModelCard, parse_card
from gatehouse.domain.common import bounded_yaml
from gatehouse.domain.common.format_error import FormatError

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
        (b"license: null", None),
        (b"license: ~", None),
        (b"license: [apache-2.0, mit]", None),
        (b"license: [mit, mit]", "MIT"),
        (b"license: mit\nlicense: apache-2.0", None),
        (b'license: mit\n"license": apache-2.0', None),
        (b"'license': mit\nlicense: apache-2.0\ntitle: a: b", None),
        (b"license: {name: mit}", None),
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
        (b"---\nlicense: mit\n", "does not end within 17 bytes"),
        (b"---\nlicense: mit\n" + b"x" * 2 * MAX_CARD + b"\n---\n", "does not end"),
        (b"---\n- a\n---\n", "no names with values"),
        (b"---\na: [\n---\n", "everything after a is left out"),
        (b"---\na: \xff\n---\n", "not UTF-8"),
        (b"---\na: " + b"[" * 100_000 + b"\n---\n", "more than 32 levels"),
        (b"---\na:\n" + b"- b\n" * 200_000 + b"---\n", "more than 200000 items"),
        (b"---\n? [a]\n: b\n---\n", "cannot be read"),
    ],
)
def test_a_head_that_cannot_be_read_says_nothing_and_why(data: bytes, expected: str) -> None:
    found = parse_card(data)
    assert found == ModelCard(notes=found.notes)
    assert expected in "; ".join(found.notes)


@pytest.mark.parametrize(
    "odd",
    [
        b"title: a: b",
        b"tags:\n\t- a",
        b"datasets: &d [x/y]\nmodel-index:\n- dataset: *d",
        b"title: Gr\xfc\xdfe",
        b"title: x\ntitle: y",
        b"tags: x\n- a list",
        b"%YAML 9.9",
        b"emoji: \xf0\x9f\x9a\x80\nx: @at",
        b"note: |\n text\n\tand tabs",
        b"language: [en",
        b"@here",
    ],
)
def test_one_odd_member_leaves_the_others_as_they_are(odd: bytes) -> None:
    found = card(b"license: mit\npipeline_tag: text-generation\n" + odd)
    assert (found.license, found.tasks) == ("MIT", ("text-generation",))
    assert found.notes


@pytest.mark.parametrize("opening", [b'"', b"'", b"[", b"{a: "])
def test_what_may_be_a_part_of_an_open_text_or_list_is_no_member(opening: bytes) -> None:
    """As ``license`` here: PyYAML reads it as a part of the title, once something ends that."""
    found = card(b"library_name: vllm\ntitle: " + opening + b"x\nlicense: mit\n@")
    assert (found.library, found.license) == ("vllm", None)
    assert "everything after title is left out" in found.notes


@given(
    names=st.lists(st.sampled_from(["license", "tags", "language", "title", "datasets"]), max_size=5, unique=True),
    values=st.lists(st.sampled_from(["mit", "[en, de]", "\n- a\n- b", '"q"', "|\n  text\n  more", "null"]), min_size=5),
)
def test_member_by_member_says_the_same_as_the_whole(names: list[str], values: list[str]) -> None:
    """A head that is sound, with something at its end that makes it be read member by member."""
    head = "".join(f"{name}: {value}\n" for name, value in zip(names, values, strict=False)).encode()
    whole, parts = card(head), card(head + b"odd: a: b")
    assert any("member by member" in note for note in parts.notes)
    assert [getattr(parts, name) for name in ("license", "tasks", "languages", "datasets")] == [
        getattr(whole, name) for name in ("license", "tasks", "languages", "datasets")
    ]


def test_no_object_is_made_of_a_tag() -> None:
    assert card(b"license: !!python/object/apply:os.abort []").license is None


@given(st.binary(max_size=300))
def test_rubbish_is_a_card(data: bytes) -> None:
    for each in (data, b"---\n" + data + b"\n---\n", b"---\nlicense: mit\n" + data + b"\n---\n"):
        found = parse_card(each)
        texts = [*found.tasks, *found.languages, *found.base_models, *found.datasets, found.license or "x"]
        assert all(text and text.isprintable() and len(text) <= 512 for text in texts)


_TEXT = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20)
_MEMBERS = st.recursive(_TEXT, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXT, inner, max_size=3))


@given(st.dictionaries(st.sampled_from(["license", "language", "tags", "pipeline_tag", "base_model"]), _MEMBERS))
def test_members_of_any_shape_are_taken_or_noted(members: dict[str, object]) -> None:
    found = card(orjson.dumps(members))  # JSON is YAML
    assert all(note.partition(":")[0] in members for note in found.notes)


def test_documents_of_plain_data_are_bounded_alike() -> None:
    assert bounded_yaml.load_documents(b"a: 1\n---\nb: [true]\n", what="x", max_bytes=100) == [{"a": 1}, {"b": [True]}]
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
            bounded_yaml.load_documents(data, what="x", max_bytes=100 if expected == "YamlTooLarge" else 10_000)
        assert raised.value.finding.reason == expected
