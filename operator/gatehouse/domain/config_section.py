"""Typed, bounded reading of one JSON object of a model's configuration."""

from __future__ import annotations

import re
from collections.abc import Mapping

from gatehouse.domain.format_error import FormatError, shown
from gatehouse.domain.jsonbound import JsonValue

__all__ = ["Section", "invalid"]

_NAME = re.compile(r"[\w.:+/-]{1,128}", re.ASCII)


class Section:
    """One JSON object. Absent and null are None; everything else of the wrong kind raises FormatError ConfigInvalid."""

    def __init__(self, members: Mapping[str, JsonValue], *, within: str = "") -> None:
        self._members = members
        self._within = within

    def part(self, name: str) -> Section | None:
        value = self._members.get(name)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise invalid(self._within + name, value, "a JSON object")
        return Section(value, within=f"{self._within}{name}.")

    def parts(self) -> list[Section]:
        """Return the members that are objects; every one has to be."""
        return [part for name in self._members if (part := self.part(name))]

    def value(self, name: str) -> JsonValue:
        return self._members.get(name)

    def integer(self, *names: str, allowed: tuple[int, int]) -> int | None:
        """Return the first of `names` that is there; one number a layer is unknown as a whole."""
        for name in names:
            value = self._members.get(name)
            if value is None:
                continue
            each = value if isinstance(value, list) else [value]
            for number in each:
                if type(number) is not int or not allowed[0] <= number <= allowed[1]:
                    raise invalid(self._within + name, number, f"a whole number from {allowed[0]} to {allowed[1]}")
            return None if isinstance(value, list) else int(each[0])  # type: ignore[arg-type]  # checked above
        return None

    def number(self, name: str, *, most: float) -> float | None:
        value = self._members.get(name)
        if value is None:
            return None
        # A comparison with NaN is false, so NaN is refused too.
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= most:
            raise invalid(self._within + name, value, f"a number above 0, at most {most}")
        return float(value)

    def boolean(self, name: str) -> bool | None:
        value = self._members.get(name)
        if value is not None and not isinstance(value, bool):
            raise invalid(self._within + name, value, "true or false")
        return value

    def text(self, *names: str) -> str | None:
        for name in names:
            value = self._members.get(name)
            if value is None:
                continue
            if not isinstance(value, str) or not _NAME.fullmatch(value):
                raise invalid(self._within + name, value, "a name of at most 128 letters, digits and ._:+/-")
            return value
        return None


def invalid(name: str, found: JsonValue, wanted: str) -> FormatError:
    """Return the error for the field `name`."""
    return FormatError(
        "ConfigInvalid", f"{name} = {shown(found)}", wanted, "Correct the model's configuration and upload it again."
    )
