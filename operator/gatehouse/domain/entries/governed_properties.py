"""The custom properties that Gatehouse itself shows on entries, and that no client can write.

A governed entry shows what Gatehouse established about it. Dashboards copy all properties of an entry into each PATCH,
so a property that comes back unchanged is no error, and Gatehouse never records it. The prefix ``gatehouse.`` is
reserved as a whole, so no client's property can be taken for one of these.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from gatehouse.domain.common.format_error import shown
from gatehouse.domain.entries.entry import Governed
from gatehouse.domain.entries.properties import Property

__all__ = [
    "HARDWARE_PROFILE",
    "PREFIX",
    "READY_LABEL",
    "REQUESTS",
    "RUNTIME",
    "ReservedPropertyError",
    "SortedProperties",
    "governed_properties",
    "refuse_reserved",
    "sort_properties",
]

PREFIX: Final = "gatehouse."
HARDWARE_PROFILE: Final = "gatehouse.hardware_profile"
RUNTIME: Final = "gatehouse.runtime"
REQUESTS: Final = frozenset({HARDWARE_PROFILE, RUNTIME})
"""What a client may ask for: recorded on an entry until the entry is governed, and read when it becomes governed."""
READY_LABEL: Final = "Ready to Deploy"
"""The label that a version in the phase of this name shows. To dashboards, a property with an empty text is a label."""


class ReservedPropertyError(ValueError):
    """A client's value for a property that only Gatehouse writes."""


@dataclass(frozen=True, slots=True)
class SortedProperties:
    """A client's properties: those to record, and those under names that only Gatehouse writes."""

    own: Mapping[str, Property]
    reserved: Mapping[str, Property]


def governed_properties(governed: Governed | None) -> dict[str, Property]:
    """The properties that an entry shows beside the client's own; none for an entry that is only recorded."""
    if governed is None:
        return {}
    texts = {
        "gatehouse.phase": governed.phase,
        "gatehouse.digest": governed.digest,
        "gatehouse.cleared_for": ", ".join(governed.cleared_for),
        HARDWARE_PROFILE: governed.hardware_profile,
        "gatehouse.fit": governed.fit,
        "gatehouse.blocked_by": governed.blocked_by,
    }
    properties = {name: Property("string", text) for name, text in texts.items() if text}
    if governed.phase == READY_LABEL:
        properties[READY_LABEL] = Property("string", "")
    return properties


def sort_properties(properties: Mapping[str, Property], *, governed: bool) -> SortedProperties:
    """Separates a client's own properties from those that only Gatehouse writes.

    On an entry that is only recorded, the client's requests (`REQUESTS`) are its own.
    """
    reserved = {
        name: property_
        for name, property_ in properties.items()
        if _is_reserved(name) and (governed or name not in REQUESTS)
    }
    own = {name: property_ for name, property_ in properties.items() if name not in reserved}
    return SortedProperties(own, reserved)


def refuse_reserved(reserved: Mapping[str, Property], *, shows: Mapping[str, Property]) -> None:
    """Refuses values that differ from what the entry shows, which is nothing for a new entry.

    Raises ReservedPropertyError.
    """
    for name, property_ in reserved.items():
        if shows.get(name) != property_:
            now = f"it is {shown(shows[name].value)}" if name in shows else "the entry does not have it"
            raise ReservedPropertyError(
                f"customProperties[{shown(name)}] is {shown(property_.value)}, and only Gatehouse writes it: {now}. "
                "Read the entry again, and send this property back as it is or leave it out"
            )


def _is_reserved(name: str) -> bool:
    """Any name that a reader could take for one of Gatehouse's: in other letters, other blanks, with invisible ones."""
    visible = "".join(char for char in unicodedata.normalize("NFKC", name) if unicodedata.category(char) != "Cf")
    plain = " ".join(visible.casefold().split())
    return plain.startswith(PREFIX) or plain == READY_LABEL.casefold()
