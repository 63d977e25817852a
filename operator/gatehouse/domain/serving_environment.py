"""Whether a version sets only variables that model servers may have, with values that they may have."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from itertools import chain
from typing import Final

from gatehouse.domain.artifact import Problem
from gatehouse.domain.serving_refusals import ReservedEnvironment
from gatehouse.domain.serving_variables import (
    HARMLESS_ENVIRONMENT,
    PLAIN_VALUE,
    RESERVED_ENVIRONMENT,
    RESERVED_PREFIXES,
    RESERVED_SUFFIXES,
    TEMPLATE_ENVIRONMENT,
)

__all__ = ["admitted_environment", "check_variable", "reserved_variable"]

_LONGEST_SHOWN: Final = 200


def admitted_environment(added: Iterable[str]) -> dict[str, str]:
    """What the gate lets model servers have, sorted: the name, and what the whole value must match.

    An entry of ``added`` is ``NAME``, for any plain value, or ``NAME=value`` for that value only. A registry adds
    neither a value to a name of the list nor a reserved name.
    """
    return dict(sorted({**_added(added), **HARMLESS_ENVIRONMENT, **TEMPLATE_ENVIRONMENT}.items()))


def _added(added: Iterable[str]) -> dict[str, str]:
    values: defaultdict[str, set[str]] = defaultdict(set)
    for entry in added:
        name, given, value = entry.partition("=")
        if reserved_variable(name) is None:
            values[name].add(re.escape(value) if given else PLAIN_VALUE)
    return {name: PLAIN_VALUE if PLAIN_VALUE in found else "|".join(sorted(found)) for name, found in values.items()}


def reserved_variable(name: str) -> str | None:
    """Why no registry may add the variable; None when it may."""
    if name in RESERVED_ENVIRONMENT:
        return RESERVED_ENVIRONMENT[name]
    beginnings = (why for prefix, why in RESERVED_PREFIXES.items() if name.startswith(prefix))
    ends = (why for suffix, why in RESERVED_SUFFIXES.items() if name.endswith(suffix) or f"{suffix}_" in name)
    return next(chain(beginnings, ends), None)


def check_variable(name: str, value: str, *, admitted: Mapping[str, str], named: Collection[str] = ()) -> None:
    """Raises ReservedEnvironment where a version must not set the variable so.

    ``admitted`` is of ``admitted_environment``; ``named`` are variables that are set already.
    """
    pattern = admitted.get(name)
    if pattern is not None and name not in TEMPLATE_ENVIRONMENT and re.fullmatch(pattern, value) and name not in named:
        return
    remedy = f"remove {name} from spec.serving.env"
    if name in TEMPLATE_ENVIRONMENT:
        why, expected = "Gatehouse and KServe set it", f"no {name}"
    elif name in named:
        why, expected = "it is there twice", "each variable once"
    elif pattern is not None:
        why = f"its value {_shown(value)} is none that is known to be harmless"
        expected = f"a value that matches ^({pattern})$"
        remedy = f"give {name} such a value, or remove it from spec.serving.env"
    elif (reserved := reserved_variable(name)) is not None:
        why, expected = reserved, f"an environment without {name}"
    else:
        why = "it is not on the list of variables that are known to be harmless"
        expected = "variables that spec.environment of the VettedArtifacts lists"
        remedy += f", or have {name} added to spec.serving.allowedEnvironment of the ModelRegistry"
    raise ReservedEnvironment(
        Problem(rule="ReservedEnvironment", found=f"serving.env has {name}: {why}", wanted=expected, remedy=remedy)
    )


def _shown(value: str) -> str:
    return repr(value if len(value) <= _LONGEST_SHOWN else f"{value[:_LONGEST_SHOWN]}...")
