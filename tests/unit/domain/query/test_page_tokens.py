"""Tokens of pages: each belongs to one list, and no text that a client makes up is more than a position in it."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatehouse.domain.entries.entry import LARGEST_ID
from gatehouse.domain.query.page_tokens import (
    LONGEST_TOKEN,
    PageQueryError,
    PageRules,
    list_identity,
    parse_page,
    read_token,
    write_token,
)
from gatehouse.domain.query.pages import Order, Page, Position

PATH = "/api/model_registry/v1/model_versions"
BY_ID = Order()
IDENTITY = list_identity({}, path=PATH, order=BY_ID)
CATALOG = PageRules(orders=("NAME", "ID"), by_property=True)


def token_of(*document: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(document).encode()).decode().rstrip("=")


@given(st.integers(1, LARGEST_ID))
def test_reads_back_the_position_in_the_order_of_ids(id_: int) -> None:
    position = Position(None, id_)
    assert read_token(write_token(position, identity=IDENTITY), identity=IDENTITY, order=BY_ID) == position


@pytest.mark.parametrize(
    ("order", "value"),
    [
        (Order("CREATE_TIME"), 1_764_547_200_123),
        (Order("LAST_UPDATE_TIME", descending=True), -1),
        (Order("NAME"), "granite 3.1, \U0001f680"),
        (Order("accuracy", type="double"), 0.95),
        (Order("accuracy", type="double"), 1),
        (Order("size", type="int"), 7),
        (Order("ready", type="bool"), 1),
        (Order("provider", type="string"), ""),
    ],
)
def test_reads_back_the_value_of_the_order(order: Order, value: str | float) -> None:
    position = Position(value, 5)
    assert read_token(write_token(position, identity=IDENTITY), identity=IDENTITY, order=order) == position


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=400))
def test_a_token_is_short_whatever_the_value(value: str) -> None:
    token = write_token(Position(value, LARGEST_ID), identity=IDENTITY)
    assert len(token) <= LONGEST_TOKEN
    position = read_token(token, identity=IDENTITY, order=Order("NAME"))
    assert position in {Position(value, LARGEST_ID), Position(None, LARGEST_ID)}


def test_a_value_that_is_too_long_is_left_to_the_entry() -> None:
    token = write_token(Position("x" * 10_000, 5), identity=IDENTITY)
    assert read_token(token, identity=IDENTITY, order=Order("NAME")) == Position(None, 5)


@given(st.one_of(st.text(), st.binary().map(lambda data: base64.urlsafe_b64encode(data).decode().rstrip("="))))
def test_no_text_raises_anything_but_its_error(token: str) -> None:
    try:
        position = read_token(token, identity=IDENTITY, order=BY_ID)
    except PageQueryError:
        return
    assert position is None


@pytest.mark.parametrize(
    ("token", "found"),
    [
        ("x" * (LONGEST_TOKEN + 1), "1025 characters; expected at most 1024"),
        ("not a token", "'not a token'"),
        ("NTox", "'NTox'"),
        ("AAAA=", "'AAAA='"),
        (token_of(2, IDENTITY, 5, None), "a token that this server wrote"),
        (token_of(1, IDENTITY, 0, None), "a token that this server wrote"),
        (token_of(1, IDENTITY, LARGEST_ID + 1, None), "a token that this server wrote"),
        (token_of(1, IDENTITY, True, None), "a token that this server wrote"),
        (token_of(1, IDENTITY, 5, "x"), "a token that this server wrote"),
        (token_of(1, IDENTITY, 5, [5]), "a token that this server wrote"),
        (token_of(1, IDENTITY, 5), "a token that this server wrote"),
        (token_of(1, "x", 5, None), "the token of another list"),
    ],
)
def test_refuses(token: str, found: str) -> None:
    with pytest.raises(PageQueryError, match="invalid nextPageToken: ") as raised:
        read_token(token, identity=IDENTITY, order=BY_ID)
    assert found in str(raised.value)
    assert "begin with the first page" in str(raised.value)


@pytest.mark.parametrize(
    ("order", "value"),
    [
        (Order("CREATE_TIME"), "x"),
        (Order("CREATE_TIME"), 1.5),
        (Order("CREATE_TIME"), 2**63),
        (Order("NAME"), 5),
        (Order("NAME"), "a\0b"),
        (Order("accuracy", type="double"), "x"),
        (Order("size", type="int"), True),
    ],
)
def test_a_value_of_another_type_reaches_no_database(order: Order, value: object) -> None:
    with pytest.raises(PageQueryError):
        read_token(token_of(1, IDENTITY, 5, value), identity=IDENTITY, order=order)


def test_a_token_belongs_to_one_list() -> None:
    words = {"filterQuery": "name = 'x'", "orderBy": "ID", "sortOrder": "ASC", "name": "a"}
    others = {
        list_identity(words, path=PATH, order=BY_ID, others=["name"]),
        list_identity({**words, "filterQuery": "name = 'y'"}, path=PATH, order=BY_ID, others=["name"]),
        list_identity(words, path=f"{PATH}/5", order=BY_ID, others=["name"]),
        list_identity(words, path=PATH, order=Order(descending=True), others=["name"]),
        list_identity(words, path=PATH, order=Order("ID", type="int"), others=["name"]),
        list_identity({**words, "name": "b"}, path=PATH, order=BY_ID, others=["name"]),
        list_identity(words, path=PATH, order=BY_ID),
        IDENTITY,
    }
    assert len(others) == 8


def test_reads_the_words_of_a_page() -> None:
    order = Order("CREATE_TIME", descending=True)
    words = {"pageSize": "10", "orderBy": "CREATE_TIME", "sortOrder": "DESC", "filterQuery": "id > 5", "name": "a"}
    identity = list_identity(words, path=PATH, order=order, others=["name"])
    token = write_token(Position(7, 5), identity=identity)
    page = parse_page({**words, "nextPageToken": token}, rules=PageRules(), path=PATH, others=["name"])
    assert page == Page(order=order, after=Position(7, 5), size=10)
    with pytest.raises(PageQueryError, match="another list"):
        parse_page({**words, "nextPageToken": token, "sortOrder": "ASC"}, rules=PageRules(), path=PATH, others=["name"])


def test_without_words_the_page_has_all_entries_in_the_order_of_ids() -> None:
    empty = dict.fromkeys(("pageSize", "orderBy", "sortOrder", "nextPageToken"), "")
    assert parse_page({}, rules=PageRules(), path=PATH) == Page()
    assert parse_page(empty, rules=PageRules(), path=PATH) == Page()
    assert parse_page({}, rules=CATALOG, path=PATH) == Page(order=Order("NAME"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"pageSize": "0"}, "pageSize is '0'; expected a whole number from 1"),
        ({"pageSize": "-1"}, "pageSize is '-1'"),
        ({"pageSize": "1000000000"}, "pageSize is '1000000000'"),
        ({"pageSize": "٣"}, "pageSize is '٣'"),
        ({"orderBy": "NAME"}, "orderBy is 'NAME'; expected ID, CREATE_TIME, LAST_UPDATE_TIME"),
        ({"orderBy": "provider.string_value"}, "orderBy is 'provider.string_value'"),
        ({"sortOrder": "desc"}, "sortOrder is 'desc'; expected ASC or DESC"),
    ],
)
def test_refuses_words_that_name_no_page(words: dict[str, str], message: str) -> None:
    with pytest.raises(PageQueryError) as raised:
        parse_page(words, rules=PageRules(), path=PATH)
    assert message in str(raised.value)


def test_the_alpha_version_takes_its_defaults_for_unknown_orders() -> None:
    lenient = PageRules(strict=False)
    assert parse_page({"orderBy": "NAME", "sortOrder": "up"}, rules=lenient, path=PATH) == Page()
    with pytest.raises(PageQueryError):
        parse_page({"pageSize": "ten"}, rules=lenient, path=PATH)


def test_the_catalog_orders_by_properties() -> None:
    page = parse_page({"orderBy": "artifacts.accuracy.double_value"}, rules=CATALOG, path=PATH)
    assert page.order == Order("artifacts.accuracy", type="double")
    for odd in (".string_value", "a.list_value", "a\0.string_value", "x" * 300 + ".string_value"):
        with pytest.raises(PageQueryError, match="or a property with its type"):
            parse_page({"orderBy": odd}, rules=CATALOG, path=PATH)
