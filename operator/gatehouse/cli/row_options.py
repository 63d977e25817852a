"""Options of the commands that read a registry's database."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["DatabaseCaOption", "RowsOption"]

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
