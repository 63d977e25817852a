"""Whether the gates of a revision are open now, as a finding where they are not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from gatehouse.api.model_deployment import ModelDeployment
from gatehouse.api.model_version import ModelVersion
from gatehouse.domain.common.finding import Finding
from gatehouse.domain.common.readable import Unreadable
from gatehouse.domain.deployment.revision import RevisionKey, recorded_digest
from gatehouse.domain.version.lifecycle import READY_TO_DEPLOY

__all__ = ["ADMISSION_REFUSED", "DeploymentPlace", "sentence", "shut_gate", "version_gate"]

ADMISSION_REFUSED: Final = "AdmissionRefused"
"""Reason of a write that the cluster's admission refused."""

NamedVersions = Mapping[str, ModelVersion | Unreadable]
"""The versions that a deployment names, by name; an absent one is not in the cluster."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeploymentPlace:
    """Where a deployment is. ``stage`` is that of its namespace; ``home`` is the namespace of the model."""

    namespace: str
    stage: str | None
    home: str


def shut_gate(
    key: RevisionKey, deployment: ModelDeployment, versions: NamedVersions, place: DeploymentPlace
) -> Finding | None:
    """The first gate that is shut for a revision; None where the revision may be applied."""
    shut = version_gate(key.version, deployment, versions, place)
    version = versions.get(key.version)
    if shut is not None or not isinstance(version, ModelVersion):
        return shut
    name, digest = _name(key.version, place), recorded_digest(version)
    if digest != key.digest:
        return Finding(
            reason="DigestChanged",
            found=f"version {name} has the digest {digest}",
            expected=f"the digest {key.digest} of revision {key.name}",
            remedy="deploy a version that has these bytes",
        )
    if version.status.served_digest != key.served_digest:
        return Finding(
            reason="SettingsChanged",
            found=f"version {name} has the served digest {version.status.served_digest}",
            expected=f"the served digest {key.served_digest} of revision {key.name}, which was approved",
            remedy="deploy the version as it is now, or a version with these serving settings",
        )
    return None


def version_gate(
    version_name: str, deployment: ModelDeployment, versions: NamedVersions, place: DeploymentPlace
) -> Finding | None:
    """The first gate that is shut for a version in the deployment's namespace, whatever its revision."""
    version, name = versions.get(version_name), _name(version_name, place)
    if version is None:
        return Finding(
            reason="VersionNotFound",
            found=f"no ModelVersion {name}",
            expected="the ModelVersion",
            remedy="apply the ModelVersion, or name another one in spec.versionRef",
        )
    if isinstance(version, Unreadable):
        return Finding(
            reason="VersionUnreadable",
            found=version.message,
            expected="a ModelVersion that Gatehouse reads",
            remedy="fix that field of the ModelVersion and apply it again",
        )
    if version.metadata.deletion_timestamp is not None:
        return Finding(
            reason="VersionNotFound",
            found=f"ModelVersion {name} is being deleted",
            expected="a ModelVersion that stays",
            remedy="name another version in spec.versionRef",
        )
    model, expected = version.spec.model_ref.name, deployment.spec.model_ref.name
    if model != expected:
        return Finding(
            reason="OtherModel",
            found=f"version {name} is of the model {model}",
            expected=f"a version of the model {expected}",
            remedy="name a version of that model in spec.versionRef",
        )
    phase, explained = version.status.phase, f"gatehouse explain {version_name} -n {place.home} says what is missing"
    if phase != READY_TO_DEPLOY:
        return Finding(
            reason="VersionNotReady",
            found=f"version {name} is {phase or 'not reconciled yet'}{_first_shut(version)}",
            expected=READY_TO_DEPLOY,
            remedy=explained,
        )
    if version.status.observed_generation != version.metadata.generation:
        return Finding(
            reason="VersionNotReady",
            found=f"version {name} was changed, and its gates are not decided yet",
            expected=READY_TO_DEPLOY,
            remedy="wait until the version is reconciled",
        )
    if place.stage is None:
        return Finding(
            reason="NamespaceWithoutStage",
            found=f"namespace {place.namespace} has no label gatehouse.dev/stage",
            expected="a namespace with a stage",
            remedy="deploy to a namespace of a stage, or have its administrator set the label",
        )
    if place.stage not in version.status.cleared_for:
        cleared = ", ".join(version.status.cleared_for) or "no stage"
        return Finding(
            reason="NotCleared",
            found=f"version {name} is cleared for {cleared}",
            expected=f"clearance for {place.stage}, the stage of namespace {place.namespace}",
            remedy=explained,
        )
    return None


def _first_shut(version: ModelVersion) -> str:
    shut = next((gate for gate in version.status.gates if gate.shut), None)
    return "" if shut is None else f", gate {shut.name} is shut"


def _name(version: str, place: DeploymentPlace) -> str:
    return f"{place.home}/{version}"


def sentence(finding: Finding) -> str:
    """A finding as one sentence."""
    told = f"{finding.found}; expected: {finding.expected}"
    return f"{told}; {finding.remedy}" if finding.remedy else told
