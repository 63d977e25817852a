"""``gatehouse crds``: the CustomResourceDefinitions, rendered from the types."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gatehouse.cli.exits import NOT_MET
from gatehouse.printing import stderr, stdout

__all__ = ["crds"]


def crds(
    directory: Annotated[
        Path | None, typer.Option("--write", help="Write one file for each kind into this folder.", file_okay=False)
    ] = None,
    check: Annotated[
        Path | None, typer.Option("--check", help="Compare the files in this folder with the kinds.", file_okay=False)
    ] = None,
) -> None:
    """Print the CustomResourceDefinitions.

    With --write, the command writes them and their Kustomization to a folder; with --check, it compares a folder.

    Exit codes: 0 success, 1 condition not met: files in the folder of --check differ, 2 error.

    Example: gatehouse crds | kubectl apply --server-side -f -
    """
    from gatehouse.api.schema import folder, render

    if check is not None:
        files = folder()
        there = {path.name for path in check.glob("*.yaml")}
        stale = sorted(name for name in files.keys() | there if _read(check / name) != files.get(name))
        if stale:
            stderr().line(f"stale in {check}: {', '.join(stale)}; run `make crds`")
            raise typer.Exit(NOT_MET)
    elif directory is not None:
        directory.mkdir(parents=True, exist_ok=True)
        for name, text in folder().items():
            (directory / name).write_text(text)
    else:
        stdout().documents(render().values())


def _read(path: Path) -> str:
    return path.read_text() if path.is_file() else ""
