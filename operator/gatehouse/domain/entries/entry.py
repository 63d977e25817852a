"""One entry as a value: the same for recorded entries and for governed versions and models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal

from gatehouse.domain.entries.measurements import Estimate, Measurement
from gatehouse.domain.entries.properties import Property

__all__ = [
    "ARTIFACT_KINDS",
    "FIRST_RECORDED_ID",
    "LARGEST_ID",
    "LONGEST_NAME",
    "Entry",
    "EntryKind",
    "Governed",
    "NewEntry",
]

EntryKind = Literal[
    "registered_model",
    "model_version",
    "model_artifact",
    "doc_artifact",
    "dataset_artifact",
    "metric",
    "parameter",
    "metric_record",
    "serving_environment",
    "inference_service",
    "serve_model",
    "experiment",
    "experiment_run",
]
ARTIFACT_KINDS: Final[tuple[EntryKind, ...]] = (
    "model_artifact",
    "doc_artifact",
    "dataset_artifact",
    "metric",
    "parameter",
)
LONGEST_NAME: Final = 250
"""Characters of an entry's name. The clients' own tests write 250 and expect that 255 fail."""
LARGEST_ID: Final = 999_999_999
"""The clients read ids of at most nine digits."""
FIRST_RECORDED_ID: Final = 500_000_000
"""Recorded entries other than models and versions have ids from here. The artifact of a governed version that no client
wrote has the id of its version, which is below."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Governed:
    """What Gatehouse establishes about a model or version that has a Kubernetes object.

    ``object_name`` is the name of the object in the entry's namespace. The other members are those of a version.
    ``blocked_by`` is the message of the first shut gate, or empty. ``estimate`` and ``measured`` are what the fit
    estimates and what evaluations measured.
    """

    object_name: str
    phase: str = ""
    digest: str = ""
    cleared_for: tuple[str, ...] = ()
    hardware_profile: str = ""
    fit: str = ""
    blocked_by: str = ""
    uri: str = ""
    estimate: Estimate | None = None
    measured: tuple[Measurement, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class NewEntry:
    """An entry that a client wants to record. ``parent_id`` is the model of a version, the version of an artifact, and
    so on. ``members`` are the members of the client's JSON that have no field here, word for word."""

    kind: EntryKind
    namespace: str
    name: str
    external_id: str | None = None
    parent_id: int | None = None
    state: str = ""
    members: Mapping[str, Any] = field(default_factory=dict)
    properties: Mapping[str, Property] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry(NewEntry):
    """An entry of the registry. ``governed`` is None for an entry that is only recorded.

    ``key`` is the name of the model or version in the registry: an object of that name in the namespace stands for the
    entry, or takes the entry over. ``parent_key`` is the model's key of a version. Both are empty for other kinds.
    """

    id: int
    key: str = ""
    parent_key: str = ""
    created_at: datetime
    updated_at: datetime
    governed: Governed | None = None
