"""The filterQuery of clients: what upstream's parser reads, what is refused, and what any text costs."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatehouse.domain.query.filter_query import (
    DEEPEST,
    LONGEST_QUERY,
    MOST_TERMS,
    MOST_VALUES,
    FilterQueryError,
    parse_filter,
)
from gatehouse.domain.query.filters import All, Any, Comparison, Filter, Scalar, ValueType

NAME = Comparison(("name",), "=", ("x",))


def quoted(text: str) -> str:
    return "'" + re.sub(r"""(["'\\])""", r"\\\1", text) + "'"


def name_of(part: str, *, last: bool) -> str:
    if re.fullmatch("[A-Za-z_][A-Za-z0-9_]*", part) and not (last and part.endswith("_value")):
        return part
    return "`" + re.sub(r"([`.\\])", r"\\\1", part) + "`"


def value_of(value: Scalar) -> str:
    if isinstance(value, bool):
        return "TRUE" if value else "false"
    if isinstance(value, float):
        text = repr(value)
        return text if "." in text or "e" in text else f"{text}.0"
    return quoted(value) if isinstance(value, str) else str(value)


def render(filter_: Filter) -> str:
    """A text that the parser reads as the same filter; every part of an All or Any is in brackets."""
    if isinstance(filter_, All):
        return " AND ".join(f"({render(part)})" for part in filter_.parts)
    if isinstance(filter_, Any):
        return "\tor -- a comment\n".join(f"({render(part)})" for part in filter_.parts)
    path = ".".join(name_of(part, last=part is filter_.path[-1]) for part in filter_.path)
    suffix = f".{filter_.type}_value" if filter_.type else ""
    values = ", ".join(value_of(value) for value in filter_.values)
    listed = f"({values})" if filter_.operator in {"IN", "NOT IN"} else values
    return f"{path}{suffix} {filter_.operator} {listed}"


TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)
VALUES: dict[ValueType, st.SearchStrategy[Scalar]] = {
    "string": TEXTS,
    "int": st.integers(-(2**63), 2**63 - 1),
    "double": st.floats(allow_nan=False, allow_infinity=False),
    "bool": st.booleans(),
}


@st.composite
def comparisons(draw: st.DrawFn) -> Comparison:
    path = tuple(draw(st.lists(st.one_of(st.just("name"), TEXTS.filter(bool)), min_size=1, max_size=3)))
    kind = draw(st.sampled_from(sorted(VALUES)))
    operators = ["=", "!=", "<", "<=", ">", ">=", "IN", "NOT IN", *(["LIKE", "ILIKE"] if kind == "string" else [])]
    operator = draw(st.sampled_from(operators))
    most = 4 if operator in {"IN", "NOT IN"} else 1
    values = tuple(draw(st.lists(VALUES[kind], min_size=1, max_size=most)))
    return Comparison(path, operator, values, draw(st.sampled_from([None, kind])))


FILTERS = st.recursive(
    comparisons(),
    lambda inner: st.one_of(
        st.lists(inner, min_size=2, max_size=3).map(lambda parts: All(tuple(parts))),
        st.lists(inner, min_size=2, max_size=3).map(lambda parts: Any(tuple(parts))),
    ),
    max_leaves=8,
)


@given(FILTERS)
def test_reads_back_every_filter(filter_: Filter) -> None:
    assert parse_filter(render(filter_), not_in=True) == filter_


@given(st.one_of(st.text(), st.text("abIN()'\"`\\.,=<>!- 019eE\n")))
def test_no_text_raises_anything_but_its_error(text: str) -> None:
    refused = None
    try:
        parse_filter(text, not_in=True)
    except FilterQueryError as error:
        refused = error
    assert refused is None or (1 <= refused.position <= len(text) + 1 and len(str(refused)) < 1_000)


@pytest.mark.parametrize(
    ("text", "filter_"),
    [
        ("", None),
        (" \n", None),
        ("name = 'x'", NAME),
        ('name="x"', NAME),
        ("name <> 'x'", Comparison(("name",), "!=", ("x",))),
        ("accuracy > 0.95", Comparison(("accuracy",), ">", (0.95,))),
        ("accuracy >= .5e-2", Comparison(("accuracy",), ">=", (0.005,))),
        ("loss < -1", Comparison(("loss",), "<", (-1,))),
        ("enabled = True", Comparison(("enabled",), "=", (True,))),
        ("name ilike '%Test%'", Comparison(("name",), "ILIKE", ("%Test%",))),
        ("id in (200, 201)", Comparison(("id",), "IN", (200, 201))),
        ("id IN (1, 2.5)", Comparison(("id",), "IN", (1.0, 2.5))),
        ("budget.double_value > 12000", Comparison(("budget",), ">", (12000.0,), "double")),
        ("artifacts.uri.string_value = 'x'", Comparison(("artifacts", "uri"), "=", ("x",), "string")),
        ("string_value = 'x'", Comparison(("string_value",), "=", ("x",))),
        ("`mlflow.source.type` = 'x'", Comparison(("mlflow.source.type",), "=", ("x",))),
        ("`a.double_value` = 'x'", Comparison(("a.double_value",), "=", ("x",))),
        ("`odd\\`name`.int_value = 1", Comparison(("odd`name",), "=", (1,), "int")),
        (r"name = 'it\'s \"50\%\" \\ \n'", Comparison(("name",), "=", ('it\'s "50\\%" \\ \\n',))),
        ("in = 'x' AND and = 'y'", All((Comparison(("in",), "=", ("x",)), Comparison(("and",), "=", ("y",))))),
        ("name = 'x' -- name = 'y'", NAME),
        ("name = 'x' -- a 'quote\nAND name = 'x'", All((NAME, NAME))),
        ("((name = 'x'))", NAME),
        ("name = 'x' or name = 'x' AND name = 'x'", Any((NAME, All((NAME, NAME))))),
        ("(name = 'x' or name = 'x') AND name = 'x'", All((Any((NAME, NAME)), NAME))),
    ],
)
def test_reads_what_upstream_reads(text: str, filter_: Filter | None) -> None:
    assert parse_filter(text) == filter_


@pytest.mark.parametrize(
    ("text", "position", "found", "expected"),
    [
        ("name", 5, "the end", "an operator"),
        ("name =", 7, "the end", "a value"),
        ("name = x", 8, "'x'", "a value"),
        ("= 'x'", 1, "'='", "the name of a property"),
        ("name = 'x' name = 'y'", 12, "'name'", "AND, OR or the end"),
        ("name = 'x' AND", 15, "the end", "the name of a property"),
        ("(name = 'x'", 12, "the end", "the one at character 1"),
        ("name = 'x')", 11, "')'", "AND, OR or the end"),
        ("name = 'x", 8, '"\'x" to the end', "a closing '"),
        ("name = 'x\\'", 8, "\"'x\\\\'\" to the end", "a closing '"),
        ("`` = 1", 1, "'`` = 1' to the end", "two backticks"),
        ("name = 'x' && name = 'y'", 12, "'&'", "in backticks"),
        ("näme = 'x'", 2, "'ä'", "in backticks"),
        ("NOT name = 'x'", 5, "'name'", "an operator"),
        ("id NOT IN (1)", 4, "'NOT'", "ILIKE or IN"),
        ("id IN ()", 8, "')'", "a value"),
        ("id IN 5", 7, "'5'", "a list of values"),
        ("id IN (1", 9, "the end", "closes the list"),
        ("id IN (1, 'x')", 7, "values of different types", "one type"),
        ("id IN (1, true)", 7, "values of different types", "one type"),
        ("id = (1)", 6, "'('", "a value"),
        ("id LIKE 5", 9, "'5'", "a text in quotes"),
        ("id.int_value LIKE 'x'", 19, "\"'x'\"", "a text in quotes"),
        ("id.int_value = 'x'", 16, "after the suffix .int_value", "a whole number"),
        ("id.int_value = 1.5", 16, "after the suffix .int_value", "a whole number"),
        ("id.bool_value = 1", 17, "after the suffix .bool_value", "true or false"),
        ("id. = 1", 5, "'='", "a name after the dot"),
        ("id = 9223372036854775808", 6, "'9223372036854775808'", "64 bits"),
        (f"id = {'9' * 5_000}", 6, "...", "64 bits"),
        ("id = 1e400", 6, "'1e400'", "1.8e308"),
        ("name = 'a\0b'", 10, "'\\x00'", "without NUL"),
        ("name = '\ud800'", 9, "'\\ud800'", "halves of characters"),
    ],
)
def test_names_what_was_found_and_what_is_expected(text: str, position: int, found: str, expected: str) -> None:
    with pytest.raises(FilterQueryError) as raised:
        parse_filter(text)
    assert raised.value.position == position
    assert found in raised.value.found
    assert expected in raised.value.expected
    assert str(raised.value).startswith(f"filterQuery, character {position}: found ")


def test_the_catalog_reads_not_in() -> None:
    assert parse_filter("id not in (1)", not_in=True) == Comparison(("id",), "NOT IN", (1,))
    with pytest.raises(FilterQueryError, match="expected IN after NOT"):
        parse_filter("id NOT LIKE 'x'", not_in=True)


def test_the_bounds_are_exact() -> None:
    assert parse_filter("name = 'x'".ljust(LONGEST_QUERY)) == NAME
    terms = " OR ".join(["id=1"] * MOST_TERMS)
    assert isinstance(parse_filter(terms), Any)
    deep = "(" * DEEPEST + "name = 'x'" + ")" * DEEPEST
    assert parse_filter(deep) == NAME
    values = ",".join(["1"] * MOST_VALUES)
    assert isinstance(parse_filter(f"id IN ({values})"), Comparison)
    for text, expected in (
        ("name = 'x'".ljust(LONGEST_QUERY + 1), f"at most {LONGEST_QUERY} characters"),
        (f"{terms} OR id=1", f"at most {MOST_TERMS}"),
        (f"({deep})", f"at most {DEEPEST}"),
        (f"id IN ({values},1)", f"at most {MOST_VALUES}"),
    ):
        with pytest.raises(FilterQueryError, match=expected):
            parse_filter(text)


def test_a_number_is_never_infinite() -> None:
    filter_ = parse_filter(f"id.double_value IN ({2**63 - 1}, -0.0)")
    assert isinstance(filter_, Comparison)
    assert all(isinstance(value, float) and math.isfinite(value) for value in filter_.values)
