"""What a registry's database holds, for commands: read by its URL."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final

import typer

from gatehouse.cli.connection import fail
from gatehouse.domain.errors import ReconcileError
from gatehouse.registry.address import Target
from gatehouse.registry.operations import VersionKey
from gatehouse.registry.trail import DatabaseUrlError, Trails, open_trails, target_of_url
from gatehouse.registry.version_rows import VersionRows, load_version_rows

__all__ = ["DatabaseCaOption", "RowsOption", "rows_of", "trails_of"]

_AT_ONCE: Final = 500

RowsOption = Annotated[
    str | None,
    typer.Option(
        "--database",
        metavar="URL",
        envvar="GATEHOUSE_DATABASE_URL",
        show_envvar=True,
        show_default=False,
        help="Database of the registry, as SQLAlchemy writes it, for what the objects do not hold. With a password in "
        "it, rather set the variable: arguments can be seen.",
    ),
]
DatabaseCaOption = Annotated[
    Path | None,
    typer.Option("--database-ca", metavar="FILE", help="PEM that the database's certificate must chain to."),
]


def rows_of(keys: Sequence[VersionKey], *, database: str, ca: Path | None) -> list[VersionRows]:
    """The rows of each key, read a few hundred at a time; ends the command with code 2 when they cannot be."""
    try:
        with _target(database, ca) as target:
            pages = range(0, len(keys), _AT_ONCE)
            return [rows for start in pages for rows in load_version_rows(target, keys[start : start + _AT_ONCE])]
    except ReconcileError as error:
        fail(f"{error.message}. {error.remedy}".rstrip(". ") + ".")
    except (DatabaseUrlError, OSError) as error:
        fail(str(error))


@contextmanager
def trails_of(database: str, *, ca: Path | None) -> Iterator[Trails]:
    """The audit trails at one moment. Raises DatabaseUrlError, OSError and ReconcileError."""
    with _target(database, ca) as target, open_trails(target) as trails:
        yield trails


@contextmanager
def _target(database: str, ca: Path | None) -> Iterator[Target]:
    with tempfile.TemporaryDirectory(prefix="gatehouse-rows-") as folder:
        yield target_of_url(database, ca=ca, data_dir=Path(folder))
