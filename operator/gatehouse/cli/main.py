"""The commands, put together."""

from __future__ import annotations

from typing import Annotated

import typer

from gatehouse import __version__
from gatehouse.cli import crds, demo, explain, local, run, template

__all__ = ["app", "main"]

app = typer.Typer(
    name="gatehouse",
    help="A model registry that is a control plane.\n\nExit codes: 0 done, 1 not (yet) so, 2 an error.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"gatehouse {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """A model registry that is a control plane."""


app.command("explain")(explain.explain)
app.command("template")(template.template)
app.command("demo")(demo.demo)
app.command("run")(run.run)
app.command("crds")(crds.crds)
app.add_typer(local.app, name="local")


def main() -> None:
    """Entry point of the console scripts."""
    app()
