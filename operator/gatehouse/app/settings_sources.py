"""The sources of settings: flags before the environment before a file before the defaults.

An unknown name is refused, with the nearest known name. A misspelt setting would otherwise be silently ignored.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml
from annotated_types import Ge, Le
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from gatehouse.app.settings import Named, Settings

__all__ = [
    "CONFIG_VARIABLE",
    "DeclaredSetting",
    "Found",
    "Loaded",
    "SettingsError",
    "declared_settings",
    "load_settings",
    "shown",
]

PREFIX: Final = "GATEHOUSE_"
CONFIG_VARIABLE: Final = "GATEHOUSE_CONFIG"
NOT_SETTINGS: Final = frozenset({CONFIG_VARIABLE, "GATEHOUSE_DATABASE_URL", "GATEHOUSE_AUDIT_PUBLIC_KEY"})
"""The variable of the file, and those that ``gatehouse local env`` exports for SQL clients and ``gatehouse audit``."""
LARGEST_FILE: Final = 256 * 1024
LONGEST_VALUE: Final = 80
_POD_NAMESPACE: Final = "POD_NAMESPACE"


class SettingsError(Exception):
    """The settings are invalid; ``problems`` has one sentence for each problem."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(self.problems))


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


@dataclass(frozen=True, slots=True)
class Found:
    """A value as found, and its source."""

    source: str
    value: Any


@dataclass(frozen=True, slots=True)
class Loaded:
    """The settings, and the source of each that is not a default."""

    settings: Settings
    sources: Mapping[str, str]


def declared_settings() -> tuple[DeclaredSetting, ...]:
    """Every setting, in the order of declaration."""
    return tuple(_declared(name, field) for name, field in Settings.model_fields.items())


def load_settings(*, flags: Mapping[str, object], environ: Mapping[str, str], config: Path | None) -> Loaded:
    """The settings from every source.

    Args:
        flags: the values from the command line, by field name; None or empty for absent flags.
        environ: the environment.
        config: the file that ``--config`` names; without it, ``GATEHOUSE_CONFIG`` names the file.

    Raises:
        SettingsError: names each wrong value, its source, and the expected value.
    """
    settings = declared_settings()
    problems: list[str] = []
    file = config or (Path(environ[CONFIG_VARIABLE]) if environ.get(CONFIG_VARIABLE) else None)
    found: dict[str, Found] = {}
    if environ.get(_POD_NAMESPACE):
        found["lease_namespace"] = Found(_POD_NAMESPACE, environ[_POD_NAMESPACE])
    if file is not None:
        found |= _from_file(file, settings, problems)
    found |= _from_environment(environ, settings, problems)
    found |= {
        setting.field: Found(setting.flag, flags[setting.field])
        for setting in settings
        if flags.get(setting.field) not in (None, [], ())
    }
    try:
        loaded = Settings.model_validate({field: each.value for field, each in found.items()}, by_name=True)
    except ValidationError as error:
        raise SettingsError([*problems, *_refused(error, found)]) from None
    if problems:
        raise SettingsError(problems)
    return Loaded(loaded, {field: each.source for field, each in found.items()})


def shown(setting: DeclaredSetting, value: Any) -> str:
    """A value in the form of an environment variable."""
    return _short(value) if setting.placeholder == "DURATION" else _written(value)


def _written(value: Any) -> str:
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case tuple() | list():
            return ",".join(map(str, value))
        case _:
            return str(value)


# The sources


def _from_environment(
    environ: Mapping[str, str], settings: Iterable[DeclaredSetting], problems: list[str]
) -> dict[str, Found]:
    fields = {setting.variable: setting.field for setting in settings}
    services = _service_links(environ)
    found: dict[str, Found] = {}
    for name, value in environ.items():
        if not name.startswith(PREFIX) or name in NOT_SETTINGS:
            continue
        if name in fields:
            # An empty variable counts as unset: this is how a manifest removes a variable.
            if value != "":
                found[fields[name]] = Found(name, value)
        elif not any(name.startswith((f"{service}_SERVICE_", f"{service}_PORT")) for service in services):
            problems.append(_unknown(f"environment variable {name}", name, fields))
    return found


def _service_links(environ: Mapping[str, str]) -> tuple[str, ...]:
    """The Services whose variables Kubernetes sets in the container, such as our own ``GATEHOUSE_OPERATOR``.

    https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
    """
    suffix = "_SERVICE_HOST"
    hosts = [name.removesuffix(suffix) for name in environ if name.endswith(suffix)]
    return tuple(service for service in hosts if f"{service}_SERVICE_PORT" in environ)


class _Loader(yaml.SafeLoader):
    """Enforces YAML's rule, which PyYAML ignores: a key may occur once."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key in (str(key.value) for key, _ in node.value):
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"the key {key!r} stands twice", node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def _from_file(file: Path, settings: Iterable[DeclaredSetting], problems: list[str]) -> dict[str, Found]:
    fields = {setting.key: setting.field for setting in settings}
    content = _read(file, problems)
    found: dict[str, Found] = {}
    for key, value in content.items():
        if key not in fields:
            problems.append(_unknown(f"{key} in {file}", str(key), fields))
        elif value is not None:
            found[fields[key]] = Found(f"{key} in {file}", value)
    return found


def _read(file: Path, problems: list[str]) -> Mapping[Any, Any]:
    try:
        with file.open("rb") as stream:
            text = stream.read(LARGEST_FILE + 1)
        if len(text) > LARGEST_FILE:
            problems.append(f"{file} is larger than {LARGEST_FILE // 1024} KiB, expected a file of settings")
            return {}
        content = yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader
    except OSError as error:
        problems.append(f"{file} cannot be read: {error.strerror}")
        return {}
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        problems.append(f"{file} is not YAML: {' '.join(str(error).split()) or type(error).__name__}")
        return {}
    if content is None:
        return {}
    if not isinstance(content, dict):
        problems.append(f"{file} holds the type {type(content).__name__}, expected a mapping as in `workers: 64`")
        return {}
    return content


def _unknown(where: str, name: str, known: Iterable[str]) -> str:
    nearest = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    advice = f"did you mean {nearest[0]}?" if nearest else "docs/settings.md lists them all"
    return f"{where} is no setting; {advice}"


# Problems


def _refused(error: ValidationError, found: Mapping[str, Found]) -> Iterable[str]:
    wrong = {str(each["loc"][0]) for each in error.errors(include_url=False, include_input=False) if each["loc"]}
    by_key = {setting.key: setting for setting in declared_settings()} | {
        setting.field: setting for setting in declared_settings()
    }
    for name in sorted(wrong):
        setting = by_key[name]
        each = found[setting.field]
        yield f"{each.source} is {_quoted(each.value)}, expected {setting.wanted}"
    if not wrong:
        times = ("lease_duration", "lease_renew_deadline", "lease_retry_period")
        sources = ", ".join(found[field].source for field in times if field in found)
        said = error.errors(include_url=False, include_input=False)[0]["msg"].removeprefix("Value error, ")
        yield f"{said} (from {sources})"


def _quoted(value: Any) -> str:
    text = repr(_written(value) if isinstance(value, (list, tuple)) else value)
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}…"


# The declaration


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
    return _short(field.default) if named.placeholder == "DURATION" else _written(field.default)


def _short(seconds: Any) -> str:
    """A duration in the largest unit that leaves a whole number."""
    number = float(seconds)
    for unit, size in (("h", 3600), ("m", 60)):
        if number and number % size == 0:
            return f"{number / size:g}{unit}"
    return f"{number:g}s"
