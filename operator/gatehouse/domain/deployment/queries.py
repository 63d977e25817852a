"""The queries of an analysis, with their placeholders replaced.

The author of a query may write any PromQL, so a value can harm only where it ends the text that the author meant. Each
value has letters, digits and a few marks that end no string of PromQL, in each of its three kinds of quotes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

__all__ = ["AnalysisSubject", "filled", "pods_of"]

_PLACEHOLDER: Final = re.compile(r"\{\{(.{0,64}?)\}\}|\{\{", re.DOTALL)
_HARMLESS: Final = re.compile(r"[A-Za-z0-9._/()\[\]+?-]*", re.ASCII)
_NAME_BEFORE_SUFFIX: Final = 58
"""Kubernetes cuts the name before the five random characters of a Pod's name here."""
_NO_POD: Final = "-"
"""No Pod has this name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnalysisSubject:
    """What is measured: the next revision, and the stable one that it is compared with, as InferenceServices."""

    namespace: str
    service: str
    stable_service: str | None
    served_name: str


def pods_of(service: str | None) -> str:
    """A regular expression for the names of the Pods of an InferenceService, and for no other service's Pods."""
    if service is None:
        return _NO_POD
    return f"{service}-predictor-"[:_NAME_BEFORE_SUFFIX] + "[a-z0-9]+(-[a-z0-9]+)?"


def filled(query: str, subject: AnalysisSubject, *, window: str) -> str:
    """The query with its placeholders replaced. Raises ValueError, which names a placeholder that is unknown."""
    values = {
        "namespace": subject.namespace,
        "pods": pods_of(subject.service),
        "stablePods": pods_of(subject.stable_service),
        "servedName": subject.served_name,
        "window": window,
    }

    def value(found: re.Match[str]) -> str:
        name = (found[1] or "").strip()
        if name not in values:
            raise ValueError(
                f"found the placeholder {found[0]!r}; expected one of "
                + ", ".join(f"{{{{{known}}}}}" for known in values)
            )
        if _HARMLESS.fullmatch(values[name]) is None:
            raise ValueError(f"the value {values[name]!r} of {found[0]!r} could end a string of PromQL")
        return values[name]

    return _PLACEHOLDER.sub(value, query)
