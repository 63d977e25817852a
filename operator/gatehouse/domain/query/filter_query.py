"""The clients' ``filterQuery``: a text as in ``name = "granite" AND (accuracy > 0.9 OR `odd name` IN (1, 2))``.

The grammar is that of the Kubeflow Model Registry, which the catalog extends by ``NOT IN``:

::

    or      = and, { OR, and }
    and     = term, { AND, term }
    term    = "(", or, ")" | path, operator, value
    path    = name, { ".", name }
    name    = letters, digits and _, or any text in backticks
    value   = 'text' | "text" | number | true | false | "(", value, { ",", value }, ")"

Keywords are in any case, and ``--`` begins a comment. In strings and backticks, a backslash stands before a quote, a
backtick, a dot or a backslash; before any other character the backslash is text. The text is read once, from the left
to the right.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from gatehouse.domain.common.format_error import shown
from gatehouse.domain.query.filters import All, Any, Comparison, Filter, Operator, Scalar, ValueType

__all__ = ["DEEPEST", "LONGEST_QUERY", "MOST_TERMS", "MOST_VALUES", "FilterQueryError", "parse_filter"]

LONGEST_QUERY: Final = 8_192
"""Characters of a filterQuery."""
MOST_TERMS: Final = 256
"""Comparisons in one filterQuery."""
MOST_VALUES: Final = 1_000
"""Values in all lists of one filterQuery."""
DEEPEST: Final = 32
"""Brackets inside brackets."""
_LARGEST_INT: Final = 2**63 - 1

_SUFFIXES: Final[dict[str, ValueType]] = {
    "string_value": "string",
    "int_value": "int",
    "double_value": "double",
    "bool_value": "bool",
}
_SYMBOLS: Final[dict[str, Operator]] = {
    "=": "=",
    "!=": "!=",
    "<>": "!=",
    "<": "<",
    "<=": "<=",
    ">": ">",
    ">=": ">=",
}
_WORDS: Final[dict[str, Operator]] = {"LIKE": "LIKE", "ILIKE": "ILIKE", "IN": "IN"}
_OPERATORS: Final = "an operator: =, !=, <, <=, >, >=, LIKE, ILIKE or IN"
_VALUES: Final = "a value: a text in quotes, a number, true or false"
_TERMS: Final = "the name of a property, or an opening bracket"
_UNREADABLE: Final = re.compile("[\x00\ud800-\udfff]")
_TOKEN: Final = re.compile(
    r"""
      (?P<gap>\s++|--[^\r\n]*+)
    | (?P<word>[A-Za-z_][A-Za-z0-9_]*+)
    | (?P<float>[-+]?[0-9]*+\.[0-9]++(?:[eE][-+]?[0-9]++)?|[-+]?[0-9]++[eE][-+]?[0-9]++)
    | (?P<int>[-+]?[0-9]++)
    | (?P<string>'(?:[^'\\]|\\.)*+'|"(?:[^"\\]|\\.)*+")
    | (?P<quoted>`(?:[^`\\]|\\.)++`)
    | (?P<operator>>=|<=|!=|<>|=|>|<)
    | (?P<mark>[().,])
    """,
    re.VERBOSE | re.DOTALL,
)
_ESCAPED_IN_STRING: Final = re.compile(r"""\\(["'\\])""")
_ESCAPED_IN_NAME: Final = re.compile(r"\\([`.\\])")


class FilterQueryError(ValueError):
    """A filterQuery that cannot be read. ``position`` counts characters from 1."""

    def __init__(self, *, position: int, found: str, expected: str) -> None:
        super().__init__(position, found, expected)
        self.position: Final = position
        self.found: Final = found
        self.expected: Final = expected

    def __str__(self) -> str:
        return f"filterQuery, character {self.position}: found {self.found}; expected {self.expected}"


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    position: int

    def __str__(self) -> str:
        return shown(self.text) if self.kind != "end" else "the end"


def parse_filter(text: str, *, not_in: bool = False) -> Filter | None:
    """The filter of a filterQuery; None when the text is empty or blank.

    ``not_in`` reads ``NOT IN`` too, as the catalog does. A suffix as ``.int_value`` becomes the type of the comparison.
    Raises FilterQueryError.
    """
    if len(text) > LONGEST_QUERY:
        raise FilterQueryError(
            position=LONGEST_QUERY + 1,
            found=f"a text of {len(text)} characters",
            expected=f"at most {LONGEST_QUERY} characters",
        )
    odd = _UNREADABLE.search(text)
    if odd:
        raise FilterQueryError(
            position=odd.start() + 1, found=shown(odd[0]), expected="text without NUL and without halves of characters"
        )
    if not text.strip():
        return None
    parser = _Parser(tuple(_tokens(text)), not_in=not_in)
    return parser.whole()


def _tokens(text: str) -> Iterator[_Token]:
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise _unreadable(text, position)
        kind = str(match.lastgroup)
        if kind != "gap":
            yield _Token(kind, match[0], position + 1)
        position = match.end()
    yield _Token("end", "", len(text) + 1)


def _unreadable(text: str, position: int) -> FilterQueryError:
    first = text[position]
    if first in "'\"`":
        expected = f"a closing {first}" if first != "`" else "a name between two backticks"
        return FilterQueryError(
            position=position + 1, found=f"{shown(text[position : position + 40])} to the end", expected=expected
        )
    return FilterQueryError(
        position=position + 1,
        found=shown(first),
        expected="names of letters, digits and _ (others in backticks), operators, values, brackets, AND and OR",
    )


def _refused(token: _Token, expected: str) -> FilterQueryError:
    return FilterQueryError(position=token.position, found=str(token), expected=expected)


class _Parser:
    """A recursive descent over the tokens; the depth of brackets bounds the recursion."""

    def __init__(self, tokens: tuple[_Token, ...], *, not_in: bool) -> None:
        self._tokens = tokens
        self._not_in = not_in
        self._at = 0
        self._terms = 0
        self._values = 0

    def whole(self) -> Filter:
        filter_ = self._or(depth=0)
        if self._next.kind != "end":
            raise _refused(self._next, "AND, OR or the end")
        return filter_

    @property
    def _next(self) -> _Token:
        return self._tokens[self._at]

    def _take(self) -> _Token:
        token = self._tokens[self._at]
        if token.kind != "end":
            self._at += 1
        return token

    def _takes_word(self, word: str) -> bool:
        token = self._next
        if token.kind == "word" and token.text.upper() == word:
            self._at += 1
            return True
        return False

    def _takes_mark(self, mark: str) -> bool:
        if self._next.kind == "mark" and self._next.text == mark:
            self._at += 1
            return True
        return False

    def _or(self, *, depth: int) -> Filter:
        parts = [self._and(depth=depth)]
        while self._takes_word("OR"):
            parts.append(self._and(depth=depth))
        return parts[0] if len(parts) == 1 else Any(tuple(parts))

    def _and(self, *, depth: int) -> Filter:
        parts = [self._term(depth=depth)]
        while self._takes_word("AND"):
            parts.append(self._term(depth=depth))
        return parts[0] if len(parts) == 1 else All(tuple(parts))

    def _term(self, *, depth: int) -> Filter:
        opening = self._next
        if not self._takes_mark("("):
            return self._comparison()
        if depth == DEEPEST:
            raise FilterQueryError(
                position=opening.position,
                found=f"more than {DEEPEST} brackets inside each other",
                expected=f"at most {DEEPEST}",
            )
        inner = self._or(depth=depth + 1)
        if not self._takes_mark(")"):
            raise _refused(self._next, f"AND, OR or the bracket that closes the one at character {opening.position}")
        return inner

    def _comparison(self) -> Comparison:
        first = self._next
        self._terms += 1
        if self._terms > MOST_TERMS:
            raise FilterQueryError(
                position=first.position, found=f"more than {MOST_TERMS} comparisons", expected=f"at most {MOST_TERMS}"
            )
        path, type_ = self._path()
        operator = self._operator()
        start = self._next
        values = self._list() if operator in {"IN", "NOT IN"} else (self._value(),)
        return Comparison(path, operator, _typed(values, operator=operator, type_=type_, at=start), type_)

    def _path(self) -> tuple[tuple[str, ...], ValueType | None]:
        parts = [self._name(_TERMS)]
        while self._takes_mark("."):
            parts.append(self._name("a name after the dot"))
        last, quoted = parts[-1]
        type_ = _SUFFIXES.get(last) if len(parts) > 1 and not quoted else None
        return tuple(name for name, _ in (parts[:-1] if type_ else parts)), type_

    def _name(self, expected: str) -> tuple[str, bool]:
        token = self._next
        if token.kind == "word":
            self._at += 1
            return token.text, False
        if token.kind == "quoted":
            self._at += 1
            return _ESCAPED_IN_NAME.sub(r"\1", token.text[1:-1]), True
        raise _refused(token, expected)

    def _operator(self) -> Operator:
        token = self._take()
        if token.kind == "operator":
            return _SYMBOLS[token.text]
        if token.kind == "word":
            word = token.text.upper()
            if word in _WORDS:
                return _WORDS[word]
            if word == "NOT" and self._not_in:
                if not self._takes_word("IN"):
                    raise _refused(self._next, "IN after NOT")
                return "NOT IN"
        raise _refused(token, _OPERATORS + (" or NOT IN" if self._not_in else ""))

    def _list(self) -> tuple[Scalar, ...]:
        if not self._takes_mark("("):
            raise _refused(self._next, "a list of values in brackets after IN")
        values = [self._listed_value()]
        while self._takes_mark(","):
            values.append(self._listed_value())
        if not self._takes_mark(")"):
            raise _refused(self._next, "a comma or the bracket that closes the list")
        return tuple(values)

    def _listed_value(self) -> Scalar:
        self._values += 1
        if self._values > MOST_VALUES:
            raise FilterQueryError(
                position=self._next.position,
                found=f"more than {MOST_VALUES} values in lists",
                expected=f"at most {MOST_VALUES}",
            )
        return self._value()

    def _value(self) -> Scalar:
        token = self._take()
        if token.kind == "string":
            return _ESCAPED_IN_STRING.sub(r"\1", token.text[1:-1])
        if token.kind == "int":
            number = int(token.text) if len(token.text) < 40 else _LARGEST_INT + 1
            if not -_LARGEST_INT - 1 <= number <= _LARGEST_INT:
                raise _refused(token, "a whole number of 64 bits")
            return number
        if token.kind == "float":
            real = float(token.text)
            if real in (float("inf"), float("-inf")):
                raise _refused(token, "a number below 1.8e308")
            return real
        if token.kind == "word" and token.text.lower() in {"true", "false"}:
            return token.text.lower() == "true"
        raise _refused(token, _VALUES)


def _typed(
    values: tuple[Scalar, ...], *, operator: Operator, type_: ValueType | None, at: _Token
) -> tuple[Scalar, ...]:
    """The values as values of one type, so that a database never compares values of different types."""
    kinds = {_kind(value) for value in values}
    if operator in {"LIKE", "ILIKE"} and (kinds != {"string"} or type_ not in {None, "string"}):
        raise FilterQueryError(position=at.position, found=str(at), expected=f"a text in quotes after {operator}")
    if kinds == {"int", "double"} or (type_ == "double" and kinds == {"int"}):
        values = tuple(float(value) for value in values)
        kinds = {"double"}
    if len(kinds) > 1:
        raise FilterQueryError(position=at.position, found="values of different types", expected="one type in a list")
    if type_ is not None and kinds != {type_}:
        raise FilterQueryError(
            position=at.position,
            found=f"{at} after the suffix .{type_}_value",
            expected=_EXPECTED[type_],
        )
    return values


_EXPECTED: Final[dict[ValueType, str]] = {
    "string": "a text in quotes",
    "int": "a whole number",
    "double": "a number",
    "bool": "true or false",
}


def _kind(value: Scalar) -> ValueType:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "int"
    return "double" if isinstance(value, float) else "string"
