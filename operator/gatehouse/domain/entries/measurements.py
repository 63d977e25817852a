"""What is known of how a version performs: what evaluations measured, and what the fit estimates.

The values are short: a version's row keeps them beside its decision, and each list of versions reads the row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

__all__ = ["MOST_MEASUREMENTS", "MOST_METRICS", "Estimate", "Measurement"]

MOST_MEASUREMENTS: Final = 8
"""Evaluations of one version that are kept, the newest first."""
MOST_METRICS: Final = 16
"""Metrics of one evaluation that are kept, the first ones."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """The result of one evaluation of exactly the version's bytes. ``name`` is that of the ModelEvaluation, ``at`` the
    time of the run in RFC 3339."""

    name: str
    kind: str
    suite: str
    dataset: str
    at: str
    task: str = ""
    metrics: tuple[tuple[str, float], ...] = ()

    def wire(self) -> Mapping[str, Any]:
        """The measurement as JSON."""
        task = {"task": self.task} if self.task else {}
        return {
            "at": self.at,
            "dataset": self.dataset,
            "kind": self.kind,
            "metrics": {name: repr(value) for name, value in self.metrics},
            "name": self.name,
            "suite": self.suite,
            **task,
        }

    @classmethod
    def read(cls, kept: Mapping[str, Any]) -> Self:
        """The measurement of :meth:`wire`. Raises KeyError, TypeError, ValueError and AttributeError."""
        return cls(
            name=str(kept["name"]),
            kind=str(kept["kind"]),
            suite=str(kept["suite"]),
            dataset=str(kept["dataset"]),
            at=str(kept["at"]),
            task=str(kept.get("task", "")),
            metrics=tuple((str(name), float(value)) for name, value in kept["metrics"].items()),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What the fit estimates: the accelerators of one replica, the longest request in tokens and the requests at once.
    0 is unknown."""

    accelerators: int = 0
    max_model_len: int = 0
    sequences: int = 0

    def wire(self) -> Mapping[str, int]:
        """The estimate as JSON."""
        return {
            "accelerators": self.accelerators,
            "maxModelLen": self.max_model_len,
            "sequences": self.sequences,
        }

    @classmethod
    def read(cls, kept: Mapping[str, Any]) -> Self:
        """The estimate of :meth:`wire`. Raises KeyError, TypeError and ValueError."""
        return cls(
            accelerators=int(kept["accelerators"]),
            max_model_len=int(kept["maxModelLen"]),
            sequences=int(kept["sequences"]),
        )
