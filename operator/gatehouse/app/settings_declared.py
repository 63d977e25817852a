"""Each setting with its flag, its variable and its key, as they follow from the declaration.

The help of ``gatehouse run`` needs no more of the settings than this module.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from annotated_types import Ge, Le
from pydantic.fields import FieldInfo

from gatehouse.app.settings import Named, Settings

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


def declared_settings() -> tuple[DeclaredSetting, ...]:
    """Every setting, in the order of declaration."""
    return tuple(_declared(name, field) for name, field in Settings.model_fields.items())


def shown(setting: DeclaredSetting, value: Any) -> str:
    """A value in the form of an environment variable."""
    return _short(value) if setting.placeholder == "DURATION" else written(value)


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


def _declared(name: str, field: FieldInfo) -> DeclaredSetting:
    named = _named(field)
    repeatable = isinstance(field.default, tuple)
    switch = isinstance(field.default, bool)
    words = name.replace("_", "-")
    return DeclaredSetting(
        field=name,
        flag=f"--{words.removesuffix('s') if repeatable else words}",
        variable=f"{PREFIX}{name.upper()}",
        key=str(field.alias),
        wanted=_wanted(field, named),
        placeholder=named.placeholder,
        default=_default(field, named),
        description=field.description or "",
        switch=switch,
        repeatable=repeatable,
    )


def _named(field: FieldInfo) -> Named:
    """The name of a field's type. For ``File | None`` pydantic keeps the annotation only in the type."""
    members = getattr(field.annotation, "__args__", ())
    metadata = [*field.metadata, *(each for member in members for each in getattr(member, "__metadata__", ()))]
    return next(each for each in metadata if isinstance(each, Named))


def _wanted(field: FieldInfo, named: Named) -> str:
    low = next((each.ge for each in field.metadata if isinstance(each, Ge)), None)
    high = next((each.le for each in field.metadata if isinstance(each, Le)), None)
    if low is None or high is None:
        return named.wanted
    if named.placeholder == "DURATION":
        return f"{named.wanted} from {_short(low)} to {_short(high)}, as in 90s or 1h30m"
    return f"{named.wanted} from {low} to {high}"


def _default(field: FieldInfo, named: Named) -> str:
    return _short(field.default) if named.placeholder == "DURATION" else written(field.default)


def _short(seconds: Any) -> str:
    """A duration in the largest unit that leaves a whole number."""
    number = float(seconds)
    for unit, size in (("h", 3600), ("m", 60)):
        if number and number % size == 0:
            return f"{number / size:g}{unit}"
    return f"{number:g}s"
