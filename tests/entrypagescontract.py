"""What every database must do for the pages of entries, and their cost: run on SQLite, MariaDB and PostgreSQL."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import insert, select, text, update

from entriescontract import (
    ALL,
    MODELS,
    PROPERTIES,
    VERSIONS,
    a_decided,
    a_new,
    a_recorded_version,
    equal,
    listed,
    names,
    statements,
)
from gatehouse.domain.common.errors import Stalled
from gatehouse.domain.entries.entry import ARTIFACT_KINDS, FIRST_RECORDED_ID, LARGEST_ID, Entry, EntryKind
from gatehouse.domain.entries.properties import Property
from gatehouse.domain.query.filters import All
from gatehouse.domain.query.filters import Any as AnyOf
from gatehouse.domain.query.pages import Order, Page, Position
from gatehouse.registry.entries import Entries
from gatehouse.registry.entry_pages import ListEntries, page_statement, position_of
from gatehouse.registry.tables import entries, entry_properties, model_versions
from registrycontract import NOW, Opened, connected

__all__ = ["EntryPagesContract"]


class EntryPagesContract:
    """Subclasses have the fixtures ``opened`` and ``again`` of :class:`registrycontract.RegistryContract`."""

    # Pages

    @pytest.mark.parametrize("descending", [False, True])
    @pytest.mark.parametrize("by", ["ID", "NAME", "CREATE_TIME", "LAST_UPDATE_TIME", "team", "score"])
    @pytest.mark.parametrize("kinds", [MODELS, ("metric", "doc_artifact")])
    async def test_pages_have_each_entry_once_in_order(
        self, opened: Opened, kinds: tuple[EntryKind, ...], by: str, descending: bool
    ) -> None:
        made = []
        for n in range(21):
            properties = {
                "team": Property("string", f"t{n % 4}"),
                **({"score": Property("double", n % 5 / 3)} if n % 3 else {}),
            }
            rows = Entries(
                registry="registries/local",
                database=opened.rows._database,
                now=lambda n=n: NOW + timedelta(microseconds=n % 6),  # type: ignore[misc]
            )
            made.append(
                await rows.create(a_new(kinds[n % len(kinds)], f"n{n * 5 % 21:02}", properties=properties), actor="a")
            )
        order = Order(by, descending, {"team": "string", "score": "double"}.get(by))  # type: ignore[arg-type]
        seen: list[Entry] = []
        after: Position | None = None
        sizes = []
        with statements(opened) as asked:
            while True:
                page = await opened.rows.entries.page(kinds=kinds, page=Page(order=order, after=after, size=10))
                seen += page.entries
                sizes.append((len(page.entries), page.more))
                if not page.more:
                    break
                after = position_of(page.entries[-1], order)
        assert sizes == [(10, True), (10, True), (1, False)]
        lists = [statement for statement in asked if "order_value" in statement or "ORDER BY" in statement]
        assert len(lists) <= 4

        def key(entry: Entry) -> Any:
            match by:
                case "ID":
                    return entry.id
                case "NAME":
                    return entry.name, entry.id
                case "CREATE_TIME":
                    return entry.created_at, entry.id
                case "LAST_UPDATE_TIME":
                    return entry.updated_at, entry.id
            return entry.properties[by].value, entry.id

        with_value = [entry for entry in made if by.isupper() or by in entry.properties]
        without = [entry for entry in made if entry not in with_value]
        expected = sorted(with_value, key=key, reverse=descending)
        expected += sorted(without, key=lambda entry: entry.id, reverse=descending)
        assert [entry.id for entry in seen] == [entry.id for entry in expected]
        if by != "ID":
            forgetful = Page(order=order, after=Position(None, expected[6].id), size=3)
            assert await listed(opened, kinds, page=forgetful) == expected[7:10]
            nowhere = Page(order=order, after=Position(None, 123), size=3)
            assert await listed(opened, kinds, page=nowhere) == []

    async def test_a_read_is_one_statement_and_a_list_at_most_two(self, opened: Opened) -> None:
        model, version = await a_recorded_version(opened)
        await opened.rows.save_version(a_decided(2, model="other"), files=None, change=None)
        reads = opened.rows.entries
        tree = All(
            (equal("team", "x"), equal("description", "%a%", operator="LIKE"), equal("accuracy", 1, 2, operator="IN"))
        )
        calls = [
            (1, reads.get(kinds=ARTIFACT_KINDS, id=version.id)),
            (1, reads.find(kinds=VERSIONS, name="v1", parent_id=model.id)),
            (1, reads.find(kinds=ARTIFACT_KINDS, external_id="x")),
            (1, reads.page(kinds=MODELS, page=ALL, tree=tree)),
            (1, reads.page(kinds=ARTIFACT_KINDS, page=Page(size=5), parent_id=version.id, tree=tree)),
            (2, reads.page(kinds=VERSIONS, page=Page(order=Order("NAME"), after=Position(None, version.id), size=2))),
            (0, reads.page(kinds=VERSIONS, page=ALL, namespaces=frozenset())),
        ]
        for most, call in calls:
            with statements(opened) as asked:
                await call
            assert len(asked) == most, asked

    async def test_a_filter_means_the_same_on_every_database(self, opened: Opened) -> None:
        names_ = ["a", "A", "ab", "a%b", "a_b", "a|b", "a\\b", "[a]", "a*", "ä", "it's", 'say "a"']
        for n, name in enumerate(names_):
            properties = {
                "i": Property("int", n),
                "d": Property("double", n / 4),
                "s": Property("string", name),
                "b": Property("bool", n % 2 == 0),
                'odd "name"': Property("string", "x"),
                **({"rare": Property("string", "")} if n == 3 else {}),
            }
            new = a_new("metric", name, external_id=f"e{n}" if n < 2 else None, properties=properties)
            await opened.rows.entries.create(replace(new, members={"value": n / 2, "step": n}), actor="a")
        for tree, expected in (
            (equal("name", "a"), ["a"]),
            (equal("name", "a%", operator="LIKE"), ["a", "ab", "a%b", "a_b", "a|b", "a\\b", "a*"]),
            (equal("name", "A%", operator="ILIKE"), ["a", "A", "ab", "a%b", "a_b", "a|b", "a\\b", "a*"]),
            (equal("name", "a_b", operator="LIKE"), ["a%b", "a_b", "a|b", "a\\b"]),
            (equal("name", "a\\_b", operator="LIKE"), ["a_b"]),
            (equal("name", "a\\%b", operator="ILIKE"), ["a%b"]),
            (equal("name", "a\\\\b", operator="LIKE"), ["a\\b"]),
            (equal("name", "a|b", operator="LIKE"), ["a|b"]),
            (equal("name", "%\\", operator="LIKE"), []),
            (equal("name", "[a]", operator="LIKE"), ["[a]"]),
            (equal("name", "a*", operator="LIKE"), ["a*"]),
            (equal("name", "it's", 'say "a"', operator="IN"), ["it's", 'say "a"']),
            (equal("name", *names_[:-1], operator="NOT IN"), ['say "a"']),
            (equal("externalId", "e1", operator="!="), ["a"]),
            (equal("i", 2), ["ab"]),
            (equal("i", 2, typed="double"), []),
            (equal("i", "2", typed="int"), ["ab"]),
            (equal("d", 0.25), ["A"]),
            (equal("d", 2.5, operator=">="), ["it's", 'say "a"']),
            (equal("i", 1, 1.5, 2, operator="IN"), ["A", "ab"]),
            (equal("s", "ä", typed="string"), ["ä"]),
            (equal("b", True, typed="bool"), names_[::2]),
            (equal("b", False), names_[1::2]),
            (equal('odd "name"', "x"), names_),
            (equal("rare", ""), ["a%b"]),
            (equal("rare", "x", operator="!="), ["a%b"]),
            (equal("nothing", "x", operator="!="), []),
            (equal("value", 5, operator=">"), ['say "a"']),
            (equal("step", 3, operator="<"), ["a", "A", "ab"]),
            (equal("createTimeSinceEpoch", int(NOW.timestamp() * 1000)), names_),
            (equal("createTimeSinceEpoch", int(NOW.timestamp() * 1000), operator=">"), []),
            (equal("artifactType", "metric"), names_),
            (equal("id", FIRST_RECORDED_ID + 1), ["A"]),
            (All((equal("i", 3, operator=">"), equal("name", "a%", operator="LIKE"))), ["a_b", "a|b", "a\\b", "a*"]),
            (AnyOf((equal("i", 0), All((equal("i", 1), equal("b", False))))), ["a", "A"]),
            (AnyOf(()), []),
            (All(()), names_),
            (AnyOf(tuple(equal("i", n) for n in range(256))), names_),
            (equal("name", *[f"n{n}" for n in range(1000)], "a", operator="IN"), ["a"]),
        ):
            assert await names(opened, ("metric",), tree) == expected, tree

    async def test_an_id_beyond_nine_digits_is_given_to_no_entry(self, opened: Opened) -> None:
        model, _ = await a_recorded_version(opened)
        await opened.rows.entries.create(a_new("metric", "m"), actor="a")
        with connected(opened) as connection:
            multiply(connection, entries, 1, name="last", external_id=None)
            connection.execute(update(entries).where(entries.c.name == "last0").values(id=LARGEST_ID))
            multiply(connection, model_versions, 1, version="last", title="last", external_id=None)
            last = update(model_versions).where(model_versions.c.title == "last0")
            connection.execute(last.values(id=FIRST_RECORDED_ID - 1))
            if connection.dialect.name == "postgresql":
                for table, id_ in (("entries", LARGEST_ID), ("model_versions", FIRST_RECORDED_ID - 1)):
                    connection.execute(text(f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), {id_})"))
            elif connection.dialect.name != "sqlite":
                for table, id_ in (("entries", LARGEST_ID), ("model_versions", FIRST_RECORDED_ID - 1)):
                    connection.execute(text(f"ALTER TABLE {table} AUTO_INCREMENT = {id_ + 1}"))
            connection.commit()
        counts = [opened.count(table) for table in (entries, model_versions, entry_properties)]
        for new in (a_new("metric", "more"), a_new("model_version", "more", parent_id=model.id)):
            with pytest.raises(Stalled, match="expected at most") as caught:
                await opened.rows.entries.create(new, actor="a")
            assert caught.value.reason == "IdsExhausted"
        assert [opened.count(table) for table in (entries, model_versions, entry_properties)] == counts

    # The cost of a page

    async def test_a_page_of_many_rows_reads_no_more_than_a_page_of_few(self, opened: Opened) -> None:
        """The plan goes to the page by an index, whatever the order and the page, and sorts nothing."""
        await a_recorded_version(opened)
        await opened.rows.entries.create(a_new("metric", "m", properties=PROPERTIES), actor="a")
        with connected(opened) as connection:
            multiply(connection, model_versions, 4000, version="w", title="w", external_id=None)
            multiply(connection, entries, 4000, name="w", external_id=None)
            for kinds in (VERSIONS, ("metric",)):
                for by, after in POSITIONS.items():
                    for descending in (False, True):
                        for position in (None, after):
                            statement = a_page(connection, kinds, Order(by, descending), position)
                            read = rows_read(connection, statement, seeks=position is not None)
                            assert read <= 2 * PAGE, (kinds, by, descending, position)

    async def test_a_page_of_one_model_reads_no_more_with_many_versions(self, opened: Opened) -> None:
        model, _ = await a_recorded_version(opened)
        other = await opened.rows.entries.create(a_new(name="other"), actor="a")
        await opened.rows.entries.create(a_new("model_version", "v1", parent_id=other.id), actor="a")
        with connected(opened) as connection:
            multiply(connection, model_versions, 4000, version="w", title="w", external_id=None)
            for position in (None, Position(None, 2500)):
                statement = a_page(connection, VERSIONS, Order(), position, parent_id=model.id)
                assert rows_read(connection, statement, seeks=False) <= 2 * PAGE, position


PAGE = 100
POSITIONS = {
    "ID": Position(None, 2500),
    "NAME": Position("w2000", 2500),
    "CREATE_TIME": Position(int(NOW.timestamp()) * 1_000_000, 2500),
    "LAST_UPDATE_TIME": Position(int(NOW.timestamp()) * 1_000_000, 2500),
}


def multiply(connection: Any, table: Any, count: int, **numbered: str | None) -> None:
    """Many rows like the first one, with other names and times, as after long use."""
    row = dict(connection.execute(select(table).order_by(table.c.id)).mappings().first())
    first = int(row["id"])
    rows = [
        row
        | {column: None if text is None else f"{text}{n}" for column, text in numbered.items()}
        | {"id": first + 10 + n, "created_at": NOW - timedelta(seconds=n - count // 2)}
        | {"updated_at": NOW + timedelta(seconds=n - count // 2), "creation": "many"}
        for n in range(count)
    ]
    connection.execute(insert(table), rows)
    connection.commit()
    analyze = {"postgresql": "ANALYZE", "sqlite": ""}.get(connection.dialect.name, "ANALYZE TABLE")
    if analyze:
        connection.execute(text(f"{analyze} {table.name}")).close()
        connection.commit()


def a_page(
    connection: Any,
    kinds: tuple[EntryKind, ...],
    order: Order,
    position: Position | None,
    *,
    parent_id: int | None = None,
) -> Any:
    if position is not None and kinds != VERSIONS:
        position = Position(position.value, FIRST_RECORDED_ID + position.id)
    operation = ListEntries(
        registry="registries/local",
        kinds=kinds,
        parent_id=parent_id,
        namespaces=frozenset({"team-a", "team-b"}),
        tree=None,
        page=Page(order=order, after=position, size=PAGE),
    )
    return page_statement(operation, position, dialect=connection.dialect.name)


def rows_read(connection: Any, statement: Any, *, seeks: bool) -> int:
    """The number of rows that the statement makes the database read; large for a plan that sorts or scans.

    ``seeks`` is whether the plan must also use the value of the order to go to the page.
    """
    literal = {"literal_binds": True}
    match connection.dialect.name:
        case "sqlite":
            plan = text(f"EXPLAIN QUERY PLAN {statement.compile(connection.engine, compile_kwargs=literal)}")
            steps = [row[3] for row in connection.execute(plan)]
            good = (
                len(steps) == 1 and steps[0].startswith("SEARCH") and (">" in steps[0] or "<" in steps[0] or not seeks)
            )
            return PAGE if good else 10**6
        case "postgresql":
            compiled = statement.compile(connection.engine, compile_kwargs={"render_postcompile": True})
            explained = connection.exec_driver_sql(f"EXPLAIN (ANALYZE, FORMAT JSON) {compiled}", compiled.params)
            return most_rows(explained.scalar_one()[0]["Plan"])
        case _:
            plan = text(f"EXPLAIN {statement.compile(connection.engine, compile_kwargs=literal)}")
            access = connection.execute(plan).one()
            if "filesort" in access.Extra or (seeks and access.type != "range"):
                return 10**6
            connection.exec_driver_sql("FLUSH STATUS")
            connection.execute(statement).all()
            counters = connection.execute(text("SHOW SESSION STATUS LIKE 'Handler_read%'")).all()
            return sum(int(count) for _, count in counters)


def most_rows(plan: Any) -> int:
    """The most rows that one step of PostgreSQL's plan read."""
    read = (plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0)) * plan["Actual Loops"]
    return max([int(read), *[most_rows(part) for part in plan.get("Plans", ())]])
