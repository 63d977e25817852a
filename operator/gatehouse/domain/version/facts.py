"""The facts about a ModelVersion at one moment: everything that ``decide`` reads.

Conclusions from the objects and the row alone are resolved once, when they are first read: whether the version is
registered, the ids of its rows, the digest that its bytes must have.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property

from gatehouse.api.hardware_profile import HardwareProfile
from gatehouse.api.model_approval import ModelApproval
from gatehouse.api.model_evaluation import ModelEvaluation
from gatehouse.api.model_registry import ModelRegistry
from gatehouse.api.model_version import ModelVersion
from gatehouse.api.registered_model import RegisteredModel
from gatehouse.domain.admission.contest import Endpoints, VersionStanding
from gatehouse.domain.artifact.values import ArtifactRecord, CheckProgress
from gatehouse.domain.common.errors import ReconcileError
from gatehouse.domain.common.finding import Finding
from gatehouse.domain.common.readable import Unreadable
from gatehouse.domain.governance.held import Held
from gatehouse.domain.governance.policy import CompiledPolicy
from gatehouse.domain.serving.running import StagedPods
from gatehouse.domain.version.records import KnownIds, VersionRecord
from gatehouse.domain.version.row_recovery import digest_of, id_in

__all__ = ["Facts", "Registration", "Unmet", "Withdrawal"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Unmet:
    """A reference to an object that is missing, or that does not allow the reference.

    ``needs_person`` is whether a person must act beyond applying the missing object.
    """

    finding: Finding
    needs_person: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdrawal:
    """Who withdrew an approval or an evaluation, and why, as the object recorded before it was deleted."""

    by: str
    reason: str


@dataclass(frozen=True, slots=True)
class Registration:
    """Where a version is registered: model and registry exist and allow it, and no other object holds its name."""

    model: RegisteredModel
    registry: ModelRegistry


@dataclass(frozen=True, kw_only=True)
class Facts:
    """Facts about one version.

    ``spec_json`` is the version's spec as canonical JSON text. ``row`` is the row of (registry, model, version),
    whichever object holds it; ``holder_exists`` says whether another object that holds the row still exists.
    ``artifact`` is None before the first check, and where no check is needed; ``rereading`` is how far its files are
    read again, or why they cannot be, while ``artifact`` stands. ``store_error`` is why the artifact could not be
    verified now. ``template_problem`` is why the cluster rejected the serving template. ``policies`` are those that
    apply, ``policy_names`` names all policies; ``approvals`` and ``evaluations`` are all that name the version, whether
    they count or not; ``unreadable`` are those of both that cannot be read. ``withdrawals`` has, by uid, those that
    were withdrawn lately, of any version. ``deployed_to`` names the stages that run the version; ``served_in`` are
    pairs of a stage and a namespace with an enforced gate in which a service runs the version with its digest, None
    when that is not known yet. ``running`` are the Pods that run the version, None when they are not known yet.
    ``rivals`` are other versions of its URI, and rejected ones of its digest or in its
    folder; ``endpoints`` says where its bucket is. ``held`` is what the version was held to before: by its row, or as a
    new version by the row of its model.
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
    rereading: CheckProgress | Finding | None = None
    store_error: ReconcileError | None = None
    template_problem: Finding | None = None
    policies: tuple[CompiledPolicy, ...] = ()
    policy_names: frozenset[str] = frozenset()
    approvals: tuple[ModelApproval, ...] = ()
    evaluations: tuple[ModelEvaluation, ...] = ()
    unreadable: tuple[Unreadable, ...] = ()
    withdrawals: Mapping[str, Withdrawal] = field(default_factory=dict)
    deployed_to: tuple[str, ...] = ()
    served_in: tuple[tuple[str, str], ...] | None = None
    running: tuple[StagedPods, ...] | None = None
    rivals: tuple[VersionStanding, ...] = ()
    endpoints: Endpoints = field(default_factory=dict)
    held: Held = field(default_factory=Held)

    @cached_property
    def registration(self) -> Registration | Unmet:
        """Where the version is registered, or why it is not."""
        if isinstance(self.model, Unmet):
            return self.model
        if isinstance(self.registry, Unmet):
            return self.registry
        return _conflict(self) or Registration(self.model, self.registry)

    @cached_property
    def known_ids(self) -> KnownIds:
        """The ids of the version's rows as its objects know them in this registry."""
        if isinstance(self.registry, Unmet):
            return KnownIds()
        model_id = None if isinstance(self.model, Unmet) else id_in(self.model.status, self.registry)
        return KnownIds(model=model_id, version=id_in(self.version.status, self.registry))

    @cached_property
    def kept_digest(self) -> str | None:
        """The digest of the row, even of a lost one."""
        if self.row is not None and self.row.digest:
            return self.row.digest
        return None if self.known_ids.version is None else digest_of(self.version.status)

    @property
    def recorded_digest(self) -> str | None:
        """The digest that the version's bytes must have: the digest of the row, or else the declared digest."""
        return self.kept_digest or self.version.spec.artifact.digest

    @property
    def is_registered(self) -> bool:
        """Whether the version is registered, or may be registered."""
        return isinstance(self.registration, Registration)

    @property
    def wants_artifact(self) -> bool:
        """Whether the artifact may be verified: the version is submitted, and the registry allows it and its URI."""
        where = self.registration
        submitted = self.version.spec.state == "Submitted"
        return submitted and isinstance(where, Registration) and where.model.spec.state == "Live"

    @property
    def watches_artifact(self) -> bool:
        """Whether the artifact is verified: it may be cleared, or services that were admitted with it may continue."""
        return self.wants_artifact or (self.is_registered and bool(self.version.status.admitted_to))

    @property
    def is_lost(self) -> bool:
        """Whether the version was registered and its row is missing: the database is empty, or an older one."""
        return self.row is None and self.known_ids.version is not None


def _conflict(facts: Facts) -> Unmet | None:
    """Another object or other bytes that already have this (model, version)."""
    row, version = facts.row, facts.version
    if row is None:
        return None
    if row.is_recorded:
        return _taken_by_client(row, version)
    own = (row.namespace, row.object_name) == (version.metadata.namespace, version.metadata.name)
    what = f"version {row.version} of model {row.model}"
    if not own and facts.holder_exists:
        return Unmet(
            needs_person=True,
            finding=Finding(
                reason="VersionConflict",
                found=f"{what} is held by ModelVersion {row.namespace}/{row.object_name}",
                expected="a version that is unique in its model",
                remedy="give this ModelVersion another spec.version, or delete the other one",
            ),
        )
    if row.uri.rstrip("/") != version.spec.artifact.uri.rstrip("/"):
        return Unmet(
            needs_person=True,
            finding=Finding(
                reason="VersionReused",
                found=f"{what} was registered with {row.uri}",
                expected=f"the artifact that was registered, not {version.spec.artifact.uri}",
                remedy="a new artifact is a new version: choose another spec.version",
            ),
        )
    return None


def _taken_by_client(row: VersionRecord, version: ModelVersion) -> Unmet | None:
    """Another namespace whose client recorded this (model, version); an object of the same namespace takes it over."""
    if row.namespace == version.metadata.namespace:
        return None
    return Unmet(
        needs_person=True,
        finding=Finding(
            reason="NameTaken",
            found=f"version {row.version} of model {row.model} is recorded for namespace {row.namespace}",
            expected="a version that is unique in its model",
            remedy="give this ModelVersion another spec.version",
        ),
    )
