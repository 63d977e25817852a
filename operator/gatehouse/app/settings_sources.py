"""The sources of settings: flags before the environment before a file before the defaults.

An unknown name is refused, with the nearest known name. A misspelt setting would otherwise be silently ignored.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

import yaml

from gatehouse.app.server_settings import ServerSettings
from gatehouse.app.settings import ProcessSettings, Settings, SettingsContradiction
from gatehouse.app.settings_declared import CONFIG_VARIABLE, PREFIX, DeclaredSetting, declared_settings, written

__all__ = ["Found", "Loaded", "SettingsError", "load_settings"]

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
    read = dict(_read(settings, values, problems))
    if problems:
        raise SettingsError(problems)
    try:
        loaded = process(**read)
    except SettingsContradiction as error:
        sources = ", ".join(values[field].source for field in error.fields if field in values) or "the defaults"
        raise SettingsError([f"{error} (from {sources})"]) from None
    return Loaded(loaded, {field: value.source for field, value in values.items()})


def _read(
    settings: Iterable[DeclaredSetting], values: Mapping[str, Found], problems: list[str]
) -> Iterator[tuple[str, Any]]:
    for setting in sorted(settings, key=attrgetter("field")):
        if (found := values.get(setting.field)) is None:
            continue
        try:
            yield setting.field, setting.read(found.value)
        except (ValueError, TypeError, LookupError, OverflowError):
            problems.append(f"{found.source} is {_quoted(found.value)}; expected: {setting.wanted}")


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
    content = _content(file, problems)
    values: dict[str, Found] = {}
    for key, value in content.items():
        if key not in fields:
            problems.append(_unknown(f"{key} in {file}", str(key), fields))
        elif value is not None:
            values[fields[key]] = Found(f"{key} in {file}", value)
    return values


def _content(file: Path, problems: list[str]) -> Mapping[Any, Any]:
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


def _quoted(value: Any) -> str:
    text = repr(written(value) if isinstance(value, (list, tuple)) else value)
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}…"
