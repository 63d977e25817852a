"""Why a deployment is not healthy, in words."""

from __future__ import annotations

from typing import Final

from gatehouse.api.model_deployment import ANNOTATION_RESUME, RollbackStatus
from gatehouse.domain.common.finding import Finding
from gatehouse.domain.deployment.facts import DeploymentFacts
from gatehouse.domain.deployment.revision import RevisionKey

SERVICES_UNKNOWN: Final = Finding(
    reason="ServicesUnknown",
    found="the InferenceServices of the cluster are not known",
    expected="KServe's kind InferenceService",
    remedy="wait until they are listed",
)
PAUSED: Final = Finding(
    reason="Paused", found="spec.paused is true", expected="false", remedy="set spec.paused to false to go on"
)


def name_taken(facts: DeploymentFacts) -> Finding:
    metadata = facts.deployment.metadata
    return Finding(
        reason="NameTaken",
        found=f"InferenceService {metadata.namespace}/{metadata.name} does not belong to the deployment",
        expected="no InferenceService of that name, or one that the deployment made",
        remedy="delete that InferenceService, or make a ModelDeployment with another name",
    )


def unknown_revision(name: str) -> Finding:
    return Finding(
        reason="RevisionNotFound",
        found=f"no revision {name}",
        expected="a revision of status.history",
        remedy="name one that gatehouse deployments -o json shows, or deploy its version",
    )


def no_template(version: str) -> Finding:
    return Finding(
        reason="VersionNotReady",
        found=f"version {version} has no serving template",
        expected="a serving template",
        remedy="wait until the version is reconciled",
    )


def rolling_out(facts: DeploymentFacts, found: str) -> Finding:
    limit = facts.deployment.spec.progress_deadline
    return Finding(reason="RollingOut", found=found, expected=f"an available revision within {limit}")


def unavailable(found: str) -> Finding:
    return Finding(reason="Unavailable", found=found, expected="available Pods", remedy="see the Pods of the service")


def stopped(found: str) -> Finding:
    return Finding(
        reason="ServiceStopped",
        found=found,
        expected="a running service",
        remedy="remove the annotation from the InferenceService",
    )


def late(facts: DeploymentFacts, key: RevisionKey, found: str) -> Finding:
    return Finding(
        reason="ProgressDeadlineExceeded",
        found=f"revision {key.name} is not available: {found}",
        expected=f"available within {facts.deployment.spec.progress_deadline}",
        remedy="fix the cause and set the annotation gatehouse.dev/retry, or name another version in spec.versionRef",
    )


def nothing_good(told: Finding) -> Finding:
    return Finding(
        reason="NoRollbackTarget",
        found=f"{told.found}; no earlier revision was available and has open gates",
        expected=told.expected,
        remedy=told.remedy,
    )


def rolled_back(rollback: RollbackStatus) -> Finding:
    return Finding(
        reason="RolledBack",
        found=f"version {rollback.version} was rolled back to revision {rollback.to}: {rollback.reason}",
        expected=f"version {rollback.version}",
        remedy="name another version in spec.versionRef, or set the annotation gatehouse.dev/retry",
    )


def cannot_split(facts: DeploymentFacts, why: str) -> Finding:
    kind = facts.deployment.spec.strategy.type
    return Finding(
        reason="CannotSplitRequests",
        found=f"strategy {kind} splits requests, and this cluster cannot: {why}",
        expected="the Gateway API with a Gateway, or Routes of OpenShift",
        remedy="follow that advice, or choose strategy Recreate",
    )


def slots_taken(names: tuple[str, ...]) -> Finding:
    return Finding(
        reason="NameTaken",
        found=f"the InferenceServices {' and '.join(names)} do not belong to the deployment",
        expected="a free name for the next revision's InferenceService",
        remedy="delete one of these InferenceServices",
    )


def warming(facts: DeploymentFacts, key: RevisionKey, found: str) -> Finding:
    limit = facts.deployment.spec.progress_deadline
    return Finding(
        reason="RollingOut",
        found=f"revision {key.name}: {found}",
        expected=f"an available revision within {limit}",
        remedy="a second revision needs accelerators of its own; choose strategy Recreate where there is one set",
    )


def paused_at(key: RevisionKey, index: int, steps: int, namespace: str) -> Finding:
    name = key.deployment
    return Finding(
        reason="PausedAtStep",
        found=f"revision {key.name} waits at step {index + 1} of {steps}",
        expected="a person who lets the rollout go on",
        remedy=f"kubectl annotate modeldeployment {name} -n {namespace} --overwrite "
        f"{ANNOTATION_RESUME}={key.name}/{index}",
    )


def at_step(key: RevisionKey, index: int, steps: int, found: str) -> Finding:
    place = f"step {index + 1} of {steps}" if index < steps else "the last step"
    return Finding(
        reason="RunningStep", found=f"revision {key.name} is at {place}: {found}", expected="the end of the step"
    )


def inconclusive(key: RevisionKey, index: int, namespace: str, found: str) -> Finding:
    told = paused_at(key, index, index + 1, namespace)
    return Finding(
        reason="AnalysisInconclusive",
        found=f"revision {key.name}: {found}",
        expected="measurements with enough samples",
        remedy=f"look for the cause, then roll back, or go on: {told.remedy}",
    )


def analysis_failed(key: RevisionKey, found: str) -> Finding:
    return Finding(
        reason="AnalysisFailed",
        found=f"revision {key.name}: {found}",
        expected="measurements within their ranges",
        remedy="fix the cause and set the annotation gatehouse.dev/retry, or name another version in spec.versionRef",
    )


def not_accepted(facts: DeploymentFacts, key: RevisionKey, told: str) -> Finding:
    return Finding(
        reason="RouteNotAccepted",
        found=f"the route of revision {key.name} was not accepted: {told}",
        expected=f"a gateway that accepts it within {facts.deployment.spec.progress_deadline}",
        remedy="fix the Gateway, and set the annotation gatehouse.dev/retry",
    )


CHECKING_QUERIES: Final = Finding(
    reason="CheckingQueries",
    found="Prometheus is asked whether it parses the queries of spec.analysis",
    expected="an answer",
    remedy="wait for the answer",
)
ROUTES_UNKNOWN: Final = Finding(
    reason="RoutesUnknown",
    found="the routes of the cluster are not known",
    expected="the lists of HTTPRoutes and Routes",
    remedy="wait until they are listed",
)
