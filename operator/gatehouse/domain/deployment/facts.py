"""What is known about a deployment at one moment."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property

import orjson

from gatehouse.api.model_deployment import (
    ANNOTATION_RETRY,
    ANNOTATION_ROLLBACK_REASON,
    ANNOTATION_ROLLBACK_REQUESTED_AT,
    ANNOTATION_ROLLBACK_TO,
    LONGEST_REASON,
    HistoryEntry,
    ModelDeployment,
    ModelDeploymentStatus,
    StepStatus,
)
from gatehouse.api.model_version import ModelVersion
from gatehouse.domain.common.finding import Finding
from gatehouse.domain.common.readable import Unreadable
from gatehouse.domain.deployment.revision import RevisionKey, candidate
from gatehouse.domain.deployment.rollout import RevisionRollout
from gatehouse.domain.deployment.route import UNROUTED, KnownRoute
from gatehouse.domain.deployment.standing import DeploymentPlace

__all__ = ["DeployedService", "DeploymentFacts", "RollbackRequest", "StepMeasurement", "key_of"]

_LONGEST_RETRY = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class DeployedService:
    """An InferenceService. ``owned`` is whether the deployment controls it.

    ``revision`` and ``digest`` are those in its annotations; ``replicas`` are the least and the most.
    """

    name: str
    uid: str
    generation: int
    owned: bool
    revision: str | None
    digest: str | None
    replicas: tuple[int | None, int | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class StepMeasurement:
    """How far the measurements of a step are: its state, in words what was found, and when to measure again."""

    state: StepStatus
    told: str
    again: timedelta | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RollbackRequest:
    """What a person asks by annotations."""

    to: str
    reason: str
    requested_at: str

    @property
    def key(self) -> str:
        """Hash of the request: equal requests are one."""
        return hashlib.sha256(orjson.dumps([self.to, self.reason, self.requested_at])).hexdigest()


@dataclass(frozen=True, kw_only=True)
class DeploymentFacts:
    """``services`` are those that the deployment controls, and others whose names it may need; None while they cannot
    be listed.

    ``rollouts`` are those of the revisions that its services have, by the service's name. ``lost`` are revisions whose
    ControllerRevision is gone or altered, ``refused`` those that the API server's admission refused just now; both with
    the reason, by name. ``routing`` is None while routes cannot be listed. ``measured`` is of the step that the status
    has; ``unmeasurable`` is why the steps of the strategy cannot be measured.
    """

    now: datetime
    deployment: ModelDeployment
    place: DeploymentPlace
    name_refused: Finding | None = None
    versions: Mapping[str, ModelVersion | Unreadable] = field(default_factory=dict)
    services: Mapping[str, DeployedService] | None = field(default_factory=dict)
    rollouts: Mapping[str, RevisionRollout] = field(default_factory=dict)
    routing: KnownRoute | None = UNROUTED
    measured: StepMeasurement | None = None
    unmeasurable: Finding | None = None
    lost: Mapping[str, Finding] = field(default_factory=dict)
    refused: Mapping[str, Finding] = field(default_factory=dict)

    @property
    def status(self) -> ModelDeploymentStatus:
        """The status that the last reconcile wrote."""
        return self.deployment.status

    @cached_property
    def candidate(self) -> RevisionKey | None:
        """The revision of ``spec.versionRef`` as the version is now."""
        version = self.versions.get(self.deployment.spec.version_ref.name)
        return candidate(self.deployment, version) if isinstance(version, ModelVersion) else None

    @cached_property
    def known(self) -> Mapping[str, RevisionKey]:
        """Every revision that the history or the version has, by name. A forged entry of a history is left out."""
        keys = [key_of(entry, self.deployment) for entry in self.status.history]
        entered = {
            key.name: key for key, entry in zip(keys, self.status.history, strict=True) if key.name == entry.revision
        }
        return entered if self.candidate is None else {self.candidate.name: self.candidate, **entered}

    @cached_property
    def own(self) -> Mapping[str, DeployedService]:
        """The services that the deployment controls."""
        return {name: service for name, service in (self.services or {}).items() if service.owned}

    @cached_property
    def main(self) -> DeployedService | None:
        """The service of the stable revision.

        The status names it. Without a status it is the one with the most requests, or the one of the deployment's name.
        """
        stable, name = self.status.stable, self.deployment.metadata.name
        if stable is not None:
            return self.own.get(stable.service or name)
        route = None if self.routing is None else self.routing.route
        weights = {} if route is None or not route.owned else route.weights
        ranked = sorted(self.own.values(), key=lambda each: (-weights.get(each.name, 0), each.name != name, each.name))
        return ranked[0] if ranked else None

    @property
    def rollout(self) -> RevisionRollout | None:
        """The rollout of the stable revision's service."""
        return None if self.main is None else self.rollouts.get(self.main.name)

    @cached_property
    def running(self) -> RevisionKey | None:
        """The revision that the main service has, where it is a known one."""
        return None if self.main is None else self.revision_of(self.main)

    @cached_property
    def stable(self) -> RevisionKey | None:
        """The revision that the status has as the stable one, or else the running one."""
        stable = self.status.stable
        return self.running if stable is None else self.known.get(stable.revision)

    @cached_property
    def coming(self) -> RevisionKey | None:
        """The next revision of a rollout in the status."""
        canary = self.status.canary
        return None if canary is None else self.known.get(canary.revision)

    def revision_of(self, service: DeployedService) -> RevisionKey | None:
        """The revision that a service has, where it is a known one."""
        return None if service.revision is None else self.known.get(service.revision)

    @cached_property
    def request(self) -> RollbackRequest | None:
        """The request for a rollback that was not handled yet."""
        annotations = self.deployment.metadata.annotations
        to = annotations.get(ANNOTATION_ROLLBACK_TO)
        if not to:
            return None
        asked = RollbackRequest(
            to=to[:253],
            reason=annotations.get(ANNOTATION_ROLLBACK_REASON, "").strip()[:LONGEST_REASON],
            requested_at=annotations.get(ANNOTATION_ROLLBACK_REQUESTED_AT, "")[:64],
        )
        return None if asked.key == self.status.last_handled_rollback else asked

    @property
    def retry(self) -> str | None:
        """The value of the annotation that asks to apply ``spec.versionRef`` again."""
        value = self.deployment.metadata.annotations.get(ANNOTATION_RETRY)
        return None if value is None else value[:_LONGEST_RETRY]

    @property
    def retried(self) -> bool:
        """Whether the annotation has a value that was not handled yet."""
        return self.retry is not None and self.retry != self.status.last_handled_retry


def key_of(entry: HistoryEntry, deployment: ModelDeployment) -> RevisionKey:
    """The revision of an entry of the history."""
    return RevisionKey(
        deployment=deployment.metadata.name,
        version=entry.version,
        digest=entry.digest,
        served_digest=entry.served_digest,
        template_digest=entry.template_digest,
        served_name=deployment.spec.served_name,
    )
