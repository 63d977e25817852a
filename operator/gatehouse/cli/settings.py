"""``gatehouse settings``: the settings with which the operator would run."""

from __future__ import annotations

from enum import StrEnum
from inspect import Parameter, Signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gatehouse.app.settings import Settings
from gatehouse.app.settings_declared import DeclaredSetting, declared_settings, shown
from gatehouse.cli.exits import NOT_MET
from gatehouse.cli.settings_flags import settings_or_exit, settings_signature
from gatehouse.printing import stderr, stdout

if TYPE_CHECKING:
    from gatehouse.app.settings_sources import Loaded

__all__ = ["settings"]


class Output(StrEnum):
    TABLE = "table"
    JSON = "json"


def settings(*, config: Path | None, output: Output, write: Path | None, check: Path | None, **flags: Any) -> None:
    """Print the settings of the operator and their sources.

    The command accepts the flags of `gatehouse run` and prints the settings with which `gatehouse run` would start in
    the same environment.

    Examples:

      gatehouse settings --config config.yaml

      kubectl -n gatehouse-system exec deploy/gatehouse-operator -- gatehouse settings

    Exit codes: 0 success, 1 condition not met: the file of --check is out of date, 2 error: a setting is not valid.
    """
    from gatehouse.app.settings_doc import settings_markdown

    if write is not None:
        write.write_text(settings_markdown())
        return
    if check is not None:
        if not check.is_file() or check.read_text() != settings_markdown():
            stderr().line(f"stale: {check}; run `gatehouse settings --write {check}`")
            raise typer.Exit(NOT_MET)
        return
    loaded = settings_or_exit(Settings, config=config, flags=flags)
    if output is Output.JSON:
        values = {setting.key: _plain(loaded, setting) for setting in declared_settings(Settings)}
        stdout().data({"settings": values, "sources": dict(_sources(loaded))})
        return
    stdout().table(("SETTING", "VALUE", "FROM"), (_row(loaded, setting) for setting in declared_settings(Settings)))


def _row(loaded: Loaded[Settings], setting: DeclaredSetting) -> tuple[str, str, str]:
    value = shown(setting, getattr(loaded.settings, setting.field))
    return setting.key, value, loaded.sources.get(setting.field, "default")


def _plain(loaded: Loaded[Settings], setting: DeclaredSetting) -> Any:
    value = getattr(loaded.settings, setting.field)
    return str(value) if isinstance(value, Path) else value


def _sources(loaded: Loaded[Settings]) -> dict[str, str]:
    return {setting.key: loaded.sources.get(setting.field, "default") for setting in declared_settings(Settings)}


def _signature() -> Signature:
    given: dict[str, Any] = {
        "output": (Output.TABLE, Annotated[Output, typer.Option("--output", "-o", help="Output format.")]),
        "write": (
            None,
            Annotated[
                Path | None, typer.Option("--write", metavar="FILE", help="Write the documentation of all settings.")
            ],
        ),
        "check": (
            None,
            Annotated[
                Path | None,
                typer.Option(
                    "--check", metavar="FILE", help="Compare this file with the documentation of all settings."
                ),
            ],
        ),
    }
    added = [
        Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
        for name, (default, annotation) in given.items()
    ]
    return Signature([*settings_signature(Settings).parameters.values(), *added], return_annotation=None)


settings.__signature__ = _signature()  # type: ignore[attr-defined]
