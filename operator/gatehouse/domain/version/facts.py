"""What is known about a ModelVersion at one moment: everything that ``decide`` may look at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from gatehouse.api.hardware_profile import HardwareProfile
from gatehouse.api.model_approval import ModelApproval
from gatehouse.api.model_evaluation import ModelEvaluation
from gatehouse.api.model_registry import ModelRegistry
from gatehouse.api.model_version import ModelVersion
from gatehouse.api.registered_model import RegisteredModel
from gatehouse.domain.admission.contest import Endpoints, VersionStanding
from gatehouse.domain.artifact.values import ArtifactRecord, CheckProgress, Problem
from gatehouse.domain.common.readable import Unreadable
from gatehouse.domain.governance.held import Held
from gatehouse.domain.governance.policy import CompiledPolicy
from gatehouse.domain.version.records import VersionRecord

__all__ = ["Facts", "Unmet", "Withdrawal"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Unmet:
    """A reference that leads nowhere, or to something that does not allow it.

    ``needs_person`` when it will not come right by itself once the missing object is applied.
    """

    reason: str
    found: str
    wanted: str
    remedy: str
    needs_person: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdrawal:
    """Who took an approval or an evaluation back, and why, as it said itself before it was deleted."""

    by: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Facts about one version.

    ``spec_json`` is the version's spec as canonical JSON text. ``row`` is the row that (registry, model, version) has,
    whoever holds it; ``holder_exists`` tells whether another object that holds it is still there. ``artifact`` is None
    when nothing was looked at yet, or nothing needs to be; ``rereading`` is how far its files are read once more, or
    why they cannot be, while what it says stands. ``template_problem`` is why the cluster did not take the serving
    template. ``policies`` are those that apply, ``policy_names`` names all there are; ``approvals`` and
    ``evaluations`` are all that name the version, whether they count or not; ``unreadable`` are those of both that do
    not read. ``withdrawals`` has, by uid, those that were taken back lately, of any version. ``deployed_to`` names the
    stages that run it; ``served_in`` are pairs of a stage and a namespace with an enforced gate in which a service runs
    it with its digest, None when that is not known yet. ``rivals`` are other versions of its URI, and refused ones of
    its digest or in its folder; ``endpoints`` is where its bucket is.
    ``held`` is what it was held to before: by its row, or as a new version by the row of its model.
    """

    now: datetime
    version: ModelVersion
    spec_json: str
    model: RegisteredModel | Unmet
    registry: ModelRegistry | Unmet
    profile: HardwareProfile | Unmet
    row: VersionRecord | None = None
    holder_exists: bool = False
    artifact: ArtifactRecord | CheckProgress | None = None
    rereading: CheckProgress | Problem | None = None
    template_problem: Problem | None = None
    policies: tuple[CompiledPolicy, ...] = ()
    policy_names: frozenset[str] = frozenset()
    approvals: tuple[ModelApproval, ...] = ()
    evaluations: tuple[ModelEvaluation, ...] = ()
    unreadable: tuple[Unreadable, ...] = ()
    withdrawals: Mapping[str, Withdrawal] = field(default_factory=dict)
    deployed_to: tuple[str, ...] = ()
    served_in: tuple[tuple[str, str], ...] | None = None
    rivals: tuple[VersionStanding, ...] = ()
    endpoints: Endpoints = field(default_factory=dict)
    held: Held = field(default_factory=Held)
