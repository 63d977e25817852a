"""``gatehouse crds``: the CustomResourceDefinitions, rendered from the types."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gatehouse.api.schema import render
from gatehouse.cli.connection import NOT_READY
from gatehouse.printing import stderr, stdout

__all__ = ["crds"]


def crds(
    directory: Annotated[
        Path | None, typer.Option("--write", help="Write one file a kind into this folder.", file_okay=False)
    ] = None,
    check: Annotated[
        Path | None, typer.Option("--check", help="Exit 1 when the files in this folder differ.", file_okay=False)
    ] = None,
) -> None:
    """Print the CustomResourceDefinitions as YAML, write them to a folder, or check a folder.

    Example: gatehouse crds | kubectl apply --server-side -f -
    """
    rendered = render()
    if check is not None:
        stale = [name for name, text in rendered.items() if _read(check / name) != text]
        if stale:
            stderr().line(f"stale in {check}: {', '.join(stale)}; run `make crds`")
            raise typer.Exit(NOT_READY)
    elif directory is not None:
        directory.mkdir(parents=True, exist_ok=True)
        for name, text in rendered.items():
            (directory / name).write_text(text)
    else:
        stdout().documents(rendered.values())


def _read(path: Path) -> str:
    return path.read_text() if path.is_file() else ""
