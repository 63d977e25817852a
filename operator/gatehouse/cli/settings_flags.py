"""The flags of ``gatehouse run`` and ``gatehouse settings``: one for each setting that the operator declares."""

from __future__ import annotations

from collections.abc import Iterator
from inspect import Parameter, Signature
from pathlib import Path
from typing import Annotated, Any

import typer

from gatehouse.app.settings_declared import CONFIG_VARIABLE, DeclaredSetting, declared_settings

__all__ = ["settings_signature"]


def settings_signature() -> Signature:
    """``--config`` and one flag for each setting. Their values are validated together with the other sources."""
    return Signature(list(_parameters()), return_annotation=None)


def _parameters() -> Iterator[Parameter]:
    help_text = f"YAML file of settings, by their keys. Environment: {CONFIG_VARIABLE}."
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
