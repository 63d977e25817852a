"""Each setting with its flag, its variable and its key, as they follow from the declaration.

The help of a process needs no more of the settings than this module.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from gatehouse.app.setting_kinds import ValueKind, short_duration
from gatehouse.app.settings import ProcessSettings

__all__ = ["CONFIG_VARIABLE", "PREFIX", "DeclaredSetting", "declared_settings", "shown", "written"]

PREFIX: Final = "GATEHOUSE_"
CONFIG_VARIABLE: Final = "GATEHOUSE_CONFIG"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclaredSetting:
    """One setting, with its names. ``flag`` sets the value, or adds a value to a ``repeatable`` setting."""

    field: str
    flag: str
    variable: str
    key: str
    wanted: str
    placeholder: str
    default: str
    description: str
    switch: bool
    repeatable: bool
    read: Callable[[Any], Any]


def declared_settings(process: type[ProcessSettings]) -> tuple[DeclaredSetting, ...]:
    """Every setting of a process, in the order of declaration."""
    return tuple(map(_declared, dataclasses.fields(process)))


def shown(setting: DeclaredSetting, value: Any) -> str:
    """A value in the form of an environment variable."""
    return short_duration(value) if setting.placeholder == "DURATION" else written(value)


def written(value: Any) -> str:
    """A value that is no duration in the form of an environment variable."""
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case tuple() | list():
            return ",".join(map(str, value))
        case _:
            return str(value)


def _declared(field: dataclasses.Field[Any]) -> DeclaredSetting:
    kind: ValueKind = field.metadata["kind"]
    default: Any = field.default
    repeatable = isinstance(default, tuple)
    first, *others = field.name.split("_")
    flag = "-".join((first, *others))
    return DeclaredSetting(
        field=field.name,
        flag=f"--{_singular(flag) if repeatable else flag}",
        variable=f"{PREFIX}{field.name.upper()}",
        key=first + "".join(map(str.capitalize, others)),
        wanted=kind.wanted,
        placeholder=kind.placeholder,
        default=short_duration(default) if kind.placeholder == "DURATION" else written(default),
        description=field.metadata["description"],
        switch=isinstance(default, bool),
        repeatable=repeatable,
        read=kind.read,
    )


def _singular(flag: str) -> str:
    return flag.removesuffix("es") if flag.endswith("sses") else flag.removesuffix("s")
