"""The sources of settings: flags before the environment before a file before the defaults.

An unknown name is refused, with the nearest known name. A misspelt setting would otherwise be silently ignored.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

import yaml
from annotated_types import Ge, Le
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from gatehouse.app.server_settings import ServerSettings
from gatehouse.app.settings import Named, ProcessSettings, Settings, SettingsContradiction

__all__ = [
    "CONFIG_VARIABLE",
    "PROCESSES",
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
NOT_SETTINGS: Final = frozenset(
    {
        CONFIG_VARIABLE,
        "GATEHOUSE_DATABASE_URL",
        "GATEHOUSE_AUDIT_PUBLIC_KEY",
        "GATEHOUSE_URL",
        "GATEHOUSE_TOKEN",
    }
)
"""The variable of the file, and those that ``gatehouse local env`` exports for SQL clients, ``gatehouse audit`` and
clients of the server."""
PROCESSES: Final[tuple[type[ProcessSettings], ...]] = (Settings, ServerSettings)
"""The declarations of all processes. A Pod may give the variables of several processes to each container."""
LARGEST_FILE: Final = 256 * 1024
LONGEST_VALUE: Final = 80

S = TypeVar("S", bound=ProcessSettings)


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
class Loaded(Generic[S]):
    """The settings, and the source of each that is not a default."""

    settings: S
    sources: Mapping[str, str]


def declared_settings(process: type[ProcessSettings]) -> tuple[DeclaredSetting, ...]:
    """Every setting of a process, in the order of declaration."""
    return tuple(_declared(name, field) for name, field in process.model_fields.items())


def load_settings(
    process: type[S], *, flags: Mapping[str, object], environ: Mapping[str, str], config: Path | None
) -> Loaded[S]:
    """The settings of a process from every source.

    Args:
        process: declares the settings.
        flags: the values from the command line, by field name; None or empty for absent flags.
        environ: the environment.
        config: the file that ``--config`` names; without it, ``GATEHOUSE_CONFIG`` names the file.

    Raises:
        SettingsError: names each wrong value, its source, and the expected value.
    """
    settings = declared_settings(process)
    problems: list[str] = []
    file = config or (Path(environ[CONFIG_VARIABLE]) if environ.get(CONFIG_VARIABLE) else None)
    values: dict[str, Found] = {}
    for field, variable in process.from_pod.items():
        if environ.get(variable):
            values[field] = Found(variable, environ[variable])
    if file is not None:
        values |= _from_file(file, settings, problems)
    values |= _from_environment(environ, settings, problems)
    values |= {
        setting.field: Found(setting.flag, flags[setting.field])
        for setting in settings
        if flags.get(setting.field) not in (None, [], ())
    }
    try:
        loaded = process.model_validate({field: value.value for field, value in values.items()}, by_name=True)
    except ValidationError as error:
        raise SettingsError([*problems, *_refused(error, settings, values)]) from None
    if problems:
        raise SettingsError(problems)
    return Loaded(loaded, {field: value.source for field, value in values.items()})


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
    of_others = {setting.variable for process in PROCESSES for setting in declared_settings(process)}
    values: dict[str, Found] = {}
    for name, value in environ.items():
        if not name.startswith(PREFIX) or name in NOT_SETTINGS:
            continue
        if name in fields:
            # An empty variable counts as unset: this is how a manifest removes a variable.
            if value != "":
                values[fields[name]] = Found(name, value)
        elif name not in of_others and not any(
            name.startswith((f"{service}_SERVICE_", f"{service}_PORT")) for service in services
        ):
            problems.append(_unknown(f"environment variable {name}", name, fields))
    return values


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
    values: dict[str, Found] = {}
    for key, value in content.items():
        if key not in fields:
            problems.append(_unknown(f"{key} in {file}", str(key), fields))
        elif value is not None:
            values[fields[key]] = Found(f"{key} in {file}", value)
    return values


def _read(file: Path, problems: list[str]) -> Mapping[Any, Any]:
    try:
        with file.open("rb") as stream:
            text = stream.read(LARGEST_FILE + 1)
        if len(text) > LARGEST_FILE:
            problems.append(f"{file} is larger than {LARGEST_FILE // 1024} KiB; expected: a file of settings")
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
        problems.append(f"{file} holds the type {type(content).__name__}; expected: a mapping as in `workers: 64`")
        return {}
    return content


def _unknown(where: str, name: str, known: Iterable[str]) -> str:
    nearest = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    advice = f"did you mean {nearest[0]}?" if nearest else "docs/settings.md lists them all"
    return f"{where} is no setting; {advice}"


# Problems


def _refused(error: ValidationError, settings: Iterable[DeclaredSetting], values: Mapping[str, Found]) -> Iterable[str]:
    problems = error.errors(include_url=False, include_input=False)
    wrong = {str(problem["loc"][0]) for problem in problems if problem["loc"]}
    by_key = {name: setting for setting in settings for name in (setting.key, setting.field)}
    for name in sorted(wrong):
        setting = by_key[name]
        value = values[setting.field]
        yield f"{value.source} is {_quoted(value.value)}; expected: {setting.wanted}"
    for problem in problems if not wrong else ():
        contradiction = problem.get("ctx", {}).get("error")
        fields = contradiction.fields if isinstance(contradiction, SettingsContradiction) else ()
        sources = ", ".join(values[field].source for field in fields if field in values) or "the defaults"
        yield f"{contradiction or problem['msg']} (from {sources})"


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
