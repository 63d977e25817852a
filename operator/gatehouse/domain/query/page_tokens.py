"""Tokens of pages, and the words of a query that ask for a page.

A token is the last entry of a page, by its value in the order and its id, and the identity of the list that the page
belongs to. A token is no secret and no proof: whoever makes one up chooses where a page begins, and reads nothing more.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

from gatehouse.domain.common.bounded_json import loads
from gatehouse.domain.common.format_error import FormatError, shown
from gatehouse.domain.entries.entry import LARGEST_ID
from gatehouse.domain.query.filters import ValueType
from gatehouse.domain.query.pages import Order, Page, Position

__all__ = [
    "LONGEST_ORDER",
    "LONGEST_TOKEN",
    "ORDERS",
    "PageQueryError",
    "PageRules",
    "list_identity",
    "parse_page",
    "read_token",
    "write_token",
]

LONGEST_TOKEN: Final = 1_024
"""Characters of a token. The clients' own tests send longer ones and expect a refusal."""
ORDERS: Final = ("ID", "CREATE_TIME", "LAST_UPDATE_TIME")
"""The orders of the Kubeflow Model Registry's lists."""
_FORMAT: Final = 1
_IDENTITY_BYTES: Final = 12
_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]+")
_PAGE_SIZE: Final = re.compile(r"[1-9][0-9]{0,8}")
_SUFFIX: Final = re.compile(r"(?P<name>.+)\.(?P<type>string|int|double|bool)_value", re.DOTALL)
_TYPES: Final[dict[str, ValueType]] = {"string": "string", "int": "int", "double": "double", "bool": "bool"}
_DIRECTIONS: Final = {"ASC": False, "DESC": True}
LONGEST_ORDER: Final = 256
"""Characters of an orderBy that names a property."""
_NEW_LIST: Final = "Leave nextPageToken out to begin with the first page."


class PageQueryError(ValueError):
    """A word of the query that names no page. The message names the word, what was found and what is expected."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PageRules:
    """What a list accepts. ``orders`` are its values of orderBy, the first its default; ``by_property`` also permits
    the names of properties with their types, as in ``provider.string_value``. ``strict`` refuses an orderBy or
    sortOrder that is unknown; otherwise the defaults apply, as the Kubeflow Model Registry's alpha version has it."""

    orders: tuple[str, ...] = ORDERS
    by_property: bool = False
    strict: bool = True


def list_identity(words: Mapping[str, str], *, path: str, order: Order, others: Collection[str] = ()) -> str:
    """What distinguishes a list from all others: its path, its filterQuery, its order, and other words that filter."""
    parts = [path, words.get("filterQuery", ""), order.by, str(order.type), str(order.descending)]
    parts += [part for word in sorted(others) for part in (word, words.get(word, ""))]
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(8, "big") + data)
    return base64.urlsafe_b64encode(digest.digest()[:_IDENTITY_BYTES]).decode()


def write_token(position: Position, *, identity: str) -> str:
    """The token of the page after a position.

    A token has at most LONGEST_TOKEN characters. A value that is too long for one is left out; the reader takes the
    value of the entry with the position's id then.
    """
    token = _encoded([_FORMAT, identity, position.id, position.value])
    if len(token) > LONGEST_TOKEN:
        token = _encoded([_FORMAT, identity, position.id, None])
    return token


def read_token(token: str, *, identity: str, order: Order) -> Position | None:
    """The position that a token of this list names; None for an empty token, which is the first page.

    Raises PageQueryError when the token is too long, cannot be read, or belongs to another list.
    """
    if not token:
        return None
    if len(token) > LONGEST_TOKEN:
        raise _invalid_token(f"{len(token)} characters", f"at most {LONGEST_TOKEN}")
    match _decoded(token):
        case [int(version), str(named), int(id_), value] if version == _FORMAT and 0 < id_ <= LARGEST_ID:
            pass
        case _:
            raise _invalid_token(shown(token), "a token that this server wrote")
    if named != identity:
        raise _invalid_token(
            "the token of another list",
            "a token that a list with the same path, filterQuery, orderBy and sortOrder gave",
        )
    if isinstance(id_, bool) or not _fits(value, order):
        raise _invalid_token(shown(token), "a token that this server wrote")
    return Position(value, id_)


def parse_page(words: Mapping[str, str], *, rules: PageRules, path: str, others: Collection[str] = ()) -> Page:
    """The page that the words of a query ask for: pageSize, orderBy, sortOrder and nextPageToken.

    A word that is missing or empty takes its default; without pageSize, the page has all entries. ``path`` and the
    words filterQuery and ``others`` identify the list, for `list_identity` too. Raises PageQueryError.
    """
    order = _order(words.get("orderBy", ""), words.get("sortOrder", ""), rules=rules)
    identity = list_identity(words, path=path, order=order, others=others)
    return Page(
        order=order,
        after=read_token(words.get("nextPageToken", ""), identity=identity, order=order),
        size=_size(words.get("pageSize", "")),
    )


def _size(text: str) -> int | None:
    if not text:
        return None
    if not _PAGE_SIZE.fullmatch(text):
        raise PageQueryError(f"pageSize is {shown(text)}; expected a whole number from 1 to 999999999")
    return int(text)


def _order(by: str, direction: str, *, rules: PageRules) -> Order:
    descending = _DIRECTIONS.get(direction, False)
    if direction not in {"", *_DIRECTIONS} and rules.strict:
        raise PageQueryError(f"sortOrder is {shown(direction)}; expected ASC or DESC")
    if by in rules.orders:
        return Order(by=by, descending=descending)
    if rules.by_property and len(by) <= LONGEST_ORDER and "\0" not in by:
        match = _SUFFIX.fullmatch(by)
        if match:
            return Order(by=match["name"], descending=descending, type=_TYPES[match["type"]])
    if by and rules.strict:
        property_too = ", or a property with its type, as in provider.string_value" if rules.by_property else ""
        raise PageQueryError(f"orderBy is {shown(by)}; expected {', '.join(rules.orders)}{property_too}")
    return Order(by=rules.orders[0], descending=descending)


def _fits(value: Any, order: Order) -> bool:
    """Whether a value of a token has the type of the order, so that the database compares values of one type."""
    if value is None:
        return True
    if isinstance(value, bool) or order.by == "ID":
        return False
    if order.type in {"int", "bool"} or order.by in {"CREATE_TIME", "LAST_UPDATE_TIME"}:
        return isinstance(value, int) and abs(value) < 2**63
    if order.type == "double":
        return isinstance(value, float) or (isinstance(value, int) and abs(value) < 2**53)
    return isinstance(value, str) and "\0" not in value


def _encoded(document: list[Any]) -> str:
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode("utf-8", "replace")).decode().rstrip("=")


def _decoded(token: str) -> Any:
    if not _TOKEN.fullmatch(token):
        return None
    try:
        data = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
        return loads(data, what="the token", max_bytes=LONGEST_TOKEN, max_depth=1, max_items=8, constants=False)
    except (binascii.Error, FormatError):
        return None


def _invalid_token(found: str, expected: str) -> PageQueryError:
    return PageQueryError(f"invalid nextPageToken: found {found}; expected {expected}. {_NEW_LIST}")
