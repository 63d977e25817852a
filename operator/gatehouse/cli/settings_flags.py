"""The flags of ``gatehouse run``, ``server`` and ``settings``: one for each setting that the process declares."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from inspect import Parameter, Signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from gatehouse.app.settings import ProcessSettings
from gatehouse.app.settings_declared import CONFIG_VARIABLE, DeclaredSetting, declared_settings
from gatehouse.cli.exits import ERROR
from gatehouse.printing import stderr

if TYPE_CHECKING:
    from gatehouse.app.settings_sources import Loaded

__all__ = ["settings_or_exit", "settings_signature"]

S = TypeVar("S", bound=ProcessSettings)


def settings_or_exit(process: type[S], *, config: Path | None, flags: Mapping[str, object]) -> Loaded[S]:
    """The settings of a process. Prints every problem and ends the command where a value is not valid."""
    from gatehouse.app.settings_sources import SettingsError, load_settings

    try:
        return load_settings(process, flags=flags, environ=os.environ, config=config)
    except SettingsError as error:
        for problem in error.problems:
            stderr().labelled("error", problem)
        raise typer.Exit(ERROR) from None


def settings_signature(process: type[ProcessSettings]) -> Signature:
    """``--config`` and one flag for each setting. Their values are validated together with the other sources."""
    return Signature(list(_parameters(process)), return_annotation=None)


def _parameters(process: type[ProcessSettings]) -> Iterator[Parameter]:
    help_text = f"YAML file of settings, by their keys. Environment: {CONFIG_VARIABLE}."
    option = typer.Option("--config", metavar="FILE", help=help_text, show_default=False)
    yield Parameter("config", Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[Path | None, option])
    for setting in declared_settings(process):
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
