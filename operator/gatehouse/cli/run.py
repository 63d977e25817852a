"""``gatehouse run``: the operator."""

from __future__ import annotations

import os
from collections.abc import Iterator
from inspect import Parameter, Signature
from pathlib import Path
from typing import Annotated, Any

import typer

from gatehouse.app.settings_sources import (
    CONFIG_VARIABLE,
    DeclaredSetting,
    SettingsError,
    declared_settings,
    load_settings,
)
from gatehouse.cli.connection import ERROR
from gatehouse.cli.startup import for_good
from gatehouse.printing import stderr

__all__ = ["run", "settings_signature"]


def run(*, config: Path | None, **flags: Any) -> None:
    """Run the operator until it is told to stop.

    Settings come from flags, the environment and a file, in this order; docs/settings.md tells them all. Credentials
    come from the service account of the Pod, or else from a kubeconfig.

    Examples:

      gatehouse run --config /etc/gatehouse/config.yaml

      gatehouse run --data-dir ./data --namespace team-a --namespace team-b --no-leader-elect

    Exit codes: 0 it was told to stop, 1 it lost leadership (start it again), 2 it could not start.
    """
    try:
        loaded = load_settings(flags=flags, environ=os.environ, config=config)
    except SettingsError as error:
        for problem in error.problems:
            stderr().labelled("error", problem)
        raise typer.Exit(ERROR) from None
    # The operator's parts take a second to import, which no other command should wait for.
    with for_good():
        from gatehouse.app.operator import run_operator  # noqa: PLC0415

    raise typer.Exit(run_operator(loaded.settings))


def settings_signature() -> Signature:
    """``--config`` and one flag for each setting; what they hold is judged with the other sources."""
    return Signature(list(_parameters()), return_annotation=None)


def _parameters() -> Iterator[Parameter]:
    help_text = f"A YAML file of settings, by their keys. Environment: {CONFIG_VARIABLE}."
    option = typer.Option("--config", metavar="FILE", help=help_text, show_default=False)
    yield Parameter("config", Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[Path | None, option])
    for setting in declared_settings():
        annotation: Any = Annotated[_type_of(setting), _option(setting)]
        yield Parameter(setting.field, Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _type_of(setting: DeclaredSetting) -> Any:
    if setting.switch:
        return bool | None
    return list[str] | None if setting.repeatable else str | None


def _option(setting: DeclaredSetting) -> Any:
    names = f"{setting.flag}/--no-{setting.flag.removeprefix('--')}" if setting.switch else setting.flag
    default = f" [default: {setting.default}]" if setting.default else ""
    # Brackets are markup in the help.
    text = f"{setting.description} Environment: {setting.variable}.{default}".replace("[", r"\[")
    return typer.Option(names, metavar=setting.placeholder or None, help=text, show_default=False)


# Typer reads the flags from the signature, and the signature follows from the declaration of the settings.
run.__signature__ = settings_signature()  # type: ignore[attr-defined]
