"""A text inside a column of JSON text, on each database."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ARRAY, ColumnElement, String, Text, literal
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

__all__ = ["json_text"]


class JsonText(FunctionElement[str]):
    """The text at a path: arguments are the column, the path of SQLite and MariaDB, and the steps of PostgreSQL."""

    inherit_cache = True
    type = Text()
    name = "json_text"


def json_text(column: ColumnElement[Any], *steps: str | int) -> ColumnElement[Any]:
    """The text at the steps, NULL where there is none. A step with a quote or a backslash finds nothing."""
    plain = all(isinstance(step, int) or not {'"', "\\"} & set(step) for step in steps)
    path = "".join(f"[{step}]" if isinstance(step, int) else f'."{step}"' for step in steps) if plain else "[999999999]"
    parts = [str(step) for step in steps] if plain else ["", "", ""]
    return JsonText(column, literal(f"${path}", String), literal(parts, ARRAY(Text)))


@compiles(JsonText)
def _sqlite(element: JsonText, compiler: SQLCompiler, **options: Any) -> str:
    column, path, _ = element.clauses
    return f"json_extract({compiler.process(column, **options)}, {compiler.process(path, **options)})"


@compiles(JsonText, "mysql", "mariadb")
def _mysql(element: JsonText, compiler: SQLCompiler, **options: Any) -> str:
    column, path, _ = element.clauses
    extracted = f"JSON_EXTRACT({compiler.process(column, **options)}, {compiler.process(path, **options)})"
    return f"(JSON_UNQUOTE({extracted}) COLLATE utf8mb4_bin)"


@compiles(JsonText, "postgresql")
def _postgresql(element: JsonText, compiler: SQLCompiler, **options: Any) -> str:
    """PostgreSQL refuses to turn an escaped NUL into a text."""
    column, _, steps = element.clauses
    text = compiler.process(column, **options)
    found = f"({text}::json #>> {compiler.process(steps, **options)})"
    return f"(CASE WHEN strpos({text}, '\\u0000') > 0 THEN NULL ELSE {found} END)"
