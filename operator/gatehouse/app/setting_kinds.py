"""The kinds of values that settings have: how each is read, and what its errors and the help of its flag call it.

The help of the flags imports the declarations, so this module needs only the standard library and the form of
addresses.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime
from pathlib import Path
from typing import Any, Final

from gatehouse.domain.common.addresses import read_address

_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART: Final = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)(ms|s|m|h)")
_DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
DNS_LABEL: Final = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
DNS_SUBDOMAIN: Final = r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?"
_SWITCH: Final = {"1": True, "on": True, "t": True, "true": True, "y": True, "yes": True} | {
    "0": False,
    "off": False,
    "f": False,
    "false": False,
    "n": False,
    "no": False,
}


@dataclass(frozen=True, slots=True)
class ValueKind:
    """A kind of value: ``wanted`` names the kind in an error, ``placeholder`` in the help of a flag.

    ``read`` makes the value of text or of plain YAML. The errors of ``read`` are ValueError, TypeError, LookupError and
    OverflowError.
    """

    wanted: str
    placeholder: str
    read: Callable[[Any], Any]

    def within(self, low: float, high: float) -> ValueKind:
        """The numbers of this kind from ``low`` to ``high``."""

        def read(value: Any) -> Any:
            number = self.read(value)
            if not low <= number <= high:
                raise ValueError(number)
            return number

        between = f"from {low} to {high}"
        if self.placeholder == "DURATION":
            between = f"from {short_duration(low)} to {short_duration(high)}, as in 90s or 1h30m"
        return replace(self, wanted=f"{self.wanted} {between}", read=read)


def short_duration(seconds: float) -> str:
    """A duration in the largest unit that leaves a whole number."""
    for unit, size in (("h", 3600), ("m", 60)):
        if seconds and seconds % size == 0:
            return f"{seconds / size:g}{unit}"
    return f"{seconds:g}s"


def _seconds(value: Any) -> float:
    """A Go duration as in ``1h30m``, or a number of seconds."""
    if isinstance(value, str):
        text = value.strip()
        parts = _PART.findall(text)
        if parts and "".join(number + unit for number, unit in parts) == text:
            return sum(float(number) * _UNITS[unit] for number, unit in parts)
    return float(_number(value))


def _whole_seconds(value: Any) -> float:
    return float(_whole(_seconds(value)))


def _whole(value: Any) -> int:
    number = int(value) if isinstance(value, str) else value
    if int(_number(number)) != number:
        raise ValueError(value)
    return int(number)


def _number(value: Any) -> Any:
    """The value; Python takes True for 1, and the digits of every script."""
    if isinstance(value, bool) or not str(value).isascii():
        raise ValueError(value)
    return value


def _path(value: Any) -> Path:
    return Path(value)


def _yes_or_no(value: Any) -> bool:
    return _SWITCH[str(value).lower()]


def _date(value: Any) -> date:
    """A day as in ISO 8601; YAML reads such a word as a date."""
    if isinstance(value, date) and not isinstance(value, datetime):
        return value
    if _DAY.fullmatch(_text(value)) is None:
        raise ValueError(value)
    return date.fromisoformat(value)


def one_of(words: tuple[str, ...]) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        return words[words.index(value.strip().lower() if isinstance(value, str) else value)]

    return read


def _address_or_none(value: Any) -> str:
    """``HOST:PORT``, or ``0``, which YAML reads as a number."""
    return "0" if str(value) == "0" else _address(value)


def _address(value: Any) -> str:
    host, _, port = _text(value).rpartition(":")
    if not host or not port.isascii() or not port.isdecimal() or not 0 < int(port[:6]) <= 65535:
        raise ValueError(value)
    return str(value)


def _web_address(value: Any) -> str:
    return str(read_address(_text(value)))


def _web_addresses(value: Any) -> tuple[str, ...]:
    return tuple(map(_web_address, listed(r"\S+")(value)))


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value


def matching(pattern: str) -> Callable[[Any], str]:
    matches = re.compile(pattern).fullmatch

    def read(value: Any) -> str:
        if matches(_text(value)) is None:
            raise ValueError(value)
        return str(value)

    return read


def listed(pattern: str) -> Callable[[Any], tuple[str, ...]]:
    """A list, or its members with commas between them."""
    member = matching(pattern)

    def read(value: Any) -> tuple[str, ...]:
        if isinstance(value, str):
            value = [part.strip() for part in value.split(",") if part.strip()]
        if not isinstance(value, list | tuple):
            raise TypeError(value)
        return tuple(map(member, value))

    return read


SECONDS: Final = ValueKind("a duration", "DURATION", _seconds)
WHOLE_SECONDS: Final = ValueKind("a duration", "DURATION", _whole_seconds)
WHOLE_NUMBER: Final = ValueKind("a whole number", "NUMBER", _whole)
ADDRESS: Final = ValueKind("HOST:PORT", "HOST:PORT", _address)
ADDRESS_OR_NONE: Final = ValueKind("HOST:PORT, or 0 for none", "HOST:PORT", _address_or_none)
WEB_ADDRESS: Final = ValueKind(
    "http:// or https:// with a host in lower case, an optional port and a plain path", "URL", _web_address
)
WEB_ADDRESSES: Final = ValueKind(
    "addresses with http:// or https://, a host in lower case, an optional port and a plain path, with commas "
    "between them or as a list",
    "URL",
    _web_addresses,
)
NAMESPACE: Final = ValueKind("the name of a namespace", "NAME", matching(DNS_LABEL))
NAME: Final = ValueKind("the name of an object", "NAME", matching(DNS_SUBDOMAIN))
NAMESPACES: Final = ValueKind("names of namespaces, with commas between them or as a list", "NAME", listed(DNS_LABEL))
_REGISTRY: Final = f"{DNS_LABEL}/{DNS_SUBDOMAIN}"
REGISTRY: Final = ValueKind("a registry as NAMESPACE/NAME", "NAMESPACE/NAME", matching(_REGISTRY))
REGISTRIES: Final = ValueKind(
    "registries as NAMESPACE/NAME, with commas between them or as a list", "NAMESPACE/NAME", listed(_REGISTRY)
)
GATEWAY: Final = ValueKind(
    "a Gateway as NAMESPACE/NAME or NAMESPACE/NAME/LISTENER",
    "NAMESPACE/NAME[/LISTENER]",
    matching(f"{DNS_LABEL}/{DNS_LABEL}(/{DNS_LABEL})?"),
)
LOG_LEVEL: Final = ValueKind("debug, info, warning or error", "LEVEL", one_of(("debug", "info", "warning", "error")))
FILE: Final = ValueKind("a path", "PATH", _path)
_WORD: Final = r"(?s:.){1,253}"
WORD: Final = ValueKind("a word", "NAME", matching(_WORD))
WORDS: Final = ValueKind("words, with commas between them or as a list", "NAME", listed(_WORD))
YES_OR_NO: Final = ValueKind("true or false", "", _yes_or_no)
DATE: Final = ValueKind("a date as 2027-06-30", "DATE", _date)


def setting_of(kind: ValueKind, description: str) -> Mapping[str, Any]:
    return {"kind": kind, "description": description}
