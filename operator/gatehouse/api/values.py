"""Values on the wire: durations and quantities."""

from __future__ import annotations

import re
from fractions import Fraction
from math import ceil
from types import MappingProxyType
from typing import Annotated, Final

from pydantic import StringConstraints

__all__ = ["Duration", "bytes_of"]

Duration = Annotated[
    str,
    StringConstraints(max_length=16, pattern=r"^([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,6}s)?$", min_length=2),
]
"""A Go duration in whole hours, minutes and seconds, as in 1h30m."""


_QUANTITY = re.compile(r"([0-9]+(?:\.[0-9]+)?)(m|k|Ki|[MGTPE]i?)?", re.ASCII)
_LONGEST = 32
_FACTORS: Final = MappingProxyType(
    {"": Fraction(1), "m": Fraction(1, 1000), "k": Fraction(1000), "Ki": Fraction(1024)}
    | {prefix: Fraction(1000**power) for power, prefix in enumerate("MGTPE", start=2)}
    | {f"{prefix}i": Fraction(1024**power) for power, prefix in enumerate("MGTPE", start=2)}
)


def bytes_of(quantity: str) -> int:
    """Bytes of a quantity such as 23034Mi, rounded up to whole bytes as Kubernetes does.

    Signs and exponents are not accepted. Raises ValueError, which names the value.
    """
    matched = _QUANTITY.fullmatch(quantity) if len(quantity) <= _LONGEST else None
    if matched is None:
        shown = quantity if len(quantity) <= _LONGEST else f"{quantity[:_LONGEST]}..."
        raise ValueError(f"{shown!r} is not a quantity of memory; expected a number and a unit, as in 23034Mi or 24G")
    return ceil(Fraction(matched[1]) * _FACTORS[matched[2] or ""])
