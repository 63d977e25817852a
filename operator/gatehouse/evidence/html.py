"""Small pieces of HTML. All input is untrusted text and is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any, Final

__all__ = ["absent", "facts", "items", "page", "paragraph", "section", "table"]

_STYLE: Final = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #1c1c1c; }
h1 { font-size: 1.6rem } h2 { font-size: 1.2rem; margin-top: 2.2rem; border-bottom: 1px solid #ccc }
h3 { font-size: 1rem; margin-bottom: .3rem }
table { border-collapse: collapse; width: 100%; margin: .5rem 0 }
th, td { text-align: left; vertical-align: top; padding: .25rem .6rem .25rem 0; border-bottom: 1px solid #e5e5e5 }
th { font-weight: 600 } td { overflow-wrap: anywhere }
.absent { color: #8a4b00 } .hint { color: #555 }
@media print { body { max-width: none } }
"""


def page(title: str, parts: Iterable[str]) -> str:
    """A page that loads nothing and runs nothing."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f"<h1>{escape(title)}</h1>\n{''.join(parts)}</body>\n</html>\n"
    )


def section(heading: str, parts: Iterable[str]) -> str:
    """A part of the page under its heading."""
    return f"<h2>{escape(heading)}</h2>\n{''.join(parts)}"


def paragraph(text: str, *, hint: bool = False) -> str:
    """A paragraph; a hint is grey."""
    kind = ' class="hint"' if hint else ""
    return f"<p{kind}>{escape(text)}</p>\n"


def absent(text: str) -> str:
    """A visible remark about missing information."""
    return f'<p class="absent">{escape(text)}</p>\n'


def facts(rows: Mapping[str, Any]) -> str:
    """Names and values; names without a value are left out."""
    cells = [
        f"<tr><th>{escape(name)}</th><td>{escape(str(value))}</td></tr>\n"
        for name, value in rows.items()
        if value not in (None, "", [], {})
    ]
    return f"<table>\n{''.join(cells)}</table>\n" if cells else ""


def table(heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table, or nothing without rows."""
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>\n" for row in rows)
    head = "".join(f"<th>{escape(name)}</th>" for name in heads)
    return f"<table>\n<tr>{head}</tr>\n{body}</table>\n" if body else ""


def _cell(value: Any) -> str:
    return f"<td>{'' if value is None else escape(str(value))}</td>"


def items(values: Iterable[str]) -> str:
    """A list, or nothing without values."""
    listed = "".join(f"<li>{escape(value)}</li>\n" for value in values)
    return f"<ul>\n{listed}</ul>\n" if listed else ""
