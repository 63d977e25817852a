"""The gates of a version: what must hold, what was found, what is expected, what to do. All pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Literal

from gatehouse.api.meta import ANNOTATION_RECONCILE_REQUESTED_AT
from gatehouse.api.model_registry import ModelRegistry
from gatehouse.domain.artifact.values import ArtifactRecord, CheckProgress, ContentSource
from gatehouse.domain.common.errors import Stalled
from gatehouse.domain.common.finding import Finding
from gatehouse.domain.common.locations import duration, store_for
from gatehouse.domain.common.text import human_bytes
from gatehouse.domain.formats.names import DEFAULT_FORMAT
from gatehouse.domain.formats.table import CHECKED_FORMATS
from gatehouse.domain.hardware.fit import Fit
from gatehouse.domain.runtimes.arguments import check_release, check_serving
from gatehouse.domain.runtimes.formats import check_config, check_format, check_model_file
from gatehouse.domain.runtimes.refusals import TemplateRefused
from gatehouse.domain.serving.initializer import loading_of
from gatehouse.domain.serving.names import inference_service_name
from gatehouse.domain.version.facts import Facts, Unmet
from gatehouse.domain.version.schedule import BROKEN_INTERVAL, MISSING_INTERVAL

__all__ = [
    "NOT_OWED",
    "GateState",
    "artifact_gate",
    "hardware_gate",
    "open_gate",
    "registered_gate",
    "shut_gate",
    "template_gate",
]

Attention = Literal["Person", "Time", "None"]
"""Who or what opens a shut gate: a person, time (or an object that is still to come), or nothing needs to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GateState:
    """One evaluated gate. ``reason`` is stable; ``status`` is the status of its condition.

    An ``unknown`` gate is not open, and stops nothing.
    """

    name: str
    open: bool
    status: Literal["True", "False", "Unknown"]
    rule: str
    finding: Finding
    attention: Attention = "None"
    stage: str = ""
    """The stage of the gate; every stage when empty."""
    waiting: bool = False
    """Whether the gate is shut only because another gate is."""
    unknown: bool = False

    @property
    def shut(self) -> bool:
        """Whether the gate stops the version."""
        return not self.open and not self.unknown

    @property
    def message(self) -> str:
        """The gate as one sentence for a condition."""
        if self.open:
            return self.finding.found
        if self.unknown:
            return self.finding.found + (f"; {self.finding.remedy}" if self.finding.remedy else "")
        return f"{self.finding.found}; expected: {self.finding.expected}" + (
            f"; {self.finding.remedy}" if self.finding.remedy else ""
        )


NOT_OWED: Final = "NotOwed"
"""Why a version has no template while another gate is shut."""
REGISTERED_RULE: Final = "a registry keeps the version under a name that no other object holds"
ARTIFACT_RULE: Final = "every file is present, well formed, safe to load, and hashed to the recorded digest"
_SOURCES: Final[Mapping[ContentSource | None, str]] = {
    "Bytes": ", every byte read",
    "StoreChecksum": ", by the store's own SHA-256",
    "Mixed": ", of some files by the store's own SHA-256",
    None: "",
}
HARDWARE_RULE: Final = "the weights and at least one request of the longest length fit the accelerators of the profile"
TEMPLATE_RULE: Final = "an InferenceService can be written for the version"


def registered_gate(facts: Facts) -> GateState:
    """Registry, model and store exist and allow the version, and no other object holds its name."""
    where = facts.registration
    if isinstance(where, Unmet):
        return _unmet("Registered", REGISTERED_RULE, where)
    return open_gate(
        "Registered",
        REGISTERED_RULE,
        Finding(
            reason="Registered",
            found=f"kept by registry {where.registry.metadata.namespace}/{where.registry.metadata.name}",
            expected="a row in the registry",
        ),
    )


def artifact_gate(facts: Facts) -> GateState:
    """All bytes at the URI are present, well formed and the recorded ones."""
    uri = facts.version.spec.artifact.uri
    match facts.artifact:
        case None:
            return shut_gate(
                "ArtifactVerified",
                ARTIFACT_RULE,
                Finding(
                    reason="NotVerified", found="the artifact was not checked yet", expected=f"verified files at {uri}"
                ),
                status="Unknown",
                attention="Time",
            )
        case CheckProgress() as progress:
            done = (
                f"{progress.files_done} of {progress.files} files and {human_bytes(progress.bytes_done)} "
                f"of {human_bytes(progress.bytes)} hashed"
            )
            return shut_gate(
                "ArtifactVerified",
                ARTIFACT_RULE,
                Finding(reason="Verifying", found=done, expected="every file hashed"),
                status="Unknown",
                attention="Time",
            )
        case ArtifactRecord() as record:
            return _judge_record(facts, record)


def _judge_record(facts: Facts, record: ArtifactRecord) -> GateState:
    uri = facts.version.spec.artifact.uri
    if record.outcome == "Missing":
        return shut_gate(
            "ArtifactVerified",
            ARTIFACT_RULE,
            Finding(
                reason="ArtifactMissing",
                found=f"nothing at {uri}",
                expected="the files of the model",
                remedy=f"upload them, for example: gatehouse upload ./model {uri}. "
                + _next_check(facts, MISSING_INTERVAL),
            ),
            attention="Time",
        )
    recorded = facts.recorded_digest
    changed = recorded is not None and record.digest is not None and recorded != record.digest
    if record.outcome == "Invalid" and not changed:
        return _invalid(record, then=_next_check(facts, BROKEN_INTERVAL))
    if record.outcome == "Unverified" or record.digest is None:
        notes = "; ".join(record.summary.notes) if record.summary else ""
        return shut_gate(
            "ArtifactVerified",
            ARTIFACT_RULE,
            Finding(
                reason="ContentNotVerified",
                found=notes or "the content was not hashed",
                expected="a digest of every file",
                remedy="set verification.content of the registry to true, or upload with full-object SHA-256 checksums",
            ),
            attention="Person",
        )
    if changed:
        return shut_gate(
            "ArtifactVerified",
            ARTIFACT_RULE,
            Finding(
                reason="ArtifactChanged",
                found=f"digest {record.digest}"
                + (f"; other bytes in {', '.join(record.changed)}" if record.changed else ""),
                expected=f"digest {recorded}",
                remedy=f"put the recorded files back at {uri}, or register the new ones as a new version. "
                + _next_check(facts, BROKEN_INTERVAL),
            ),
            attention="Person",
        )
    if facts.version.spec.artifact.format not in CHECKED_FORMATS and not _permitted(facts):
        return _unchecked_format(facts)
    if record.doubted:
        return _doubted(facts, uri)
    size = human_bytes(record.summary.total_bytes) if record.summary else "?"
    files = record.summary.files if record.summary else 0
    return open_gate(
        "ArtifactVerified",
        ARTIFACT_RULE,
        Finding(
            reason="Verified",
            found=f"{files} files, {size}, digest {record.digest}{_SOURCES[record.content_source]}",
            expected="the recorded digest",
        ),
    )


def _permitted(facts: Facts) -> bool:
    """Whether an enforced policy permits the format."""
    stated = facts.version.spec.artifact.format
    return any(policy.enforced and stated in policy.policy.spec.artifact.formats for policy in facts.policies)


def _unchecked_format(facts: Facts) -> GateState:
    stated = facts.version.spec.artifact.format
    return shut_gate(
        "ArtifactVerified",
        f"{ARTIFACT_RULE} (FormatNotChecked)",
        Finding(
            reason="ArtifactInvalid",
            found=f"format {stated}: Gatehouse does not check the structure of its files",
            expected=f"one of {', '.join(sorted(CHECKED_FORMATS))}, or an enforced GovernancePolicy that names "
            f"{stated}",
            remedy=f"convert the weights to {DEFAULT_FORMAT} and register them as a new version; or ask the owner of "
            f"the policies to name {stated} in spec.artifact.formats",
        ),
        attention="Person",
    )


def _doubted(facts: Facts, uri: str) -> GateState:
    why = f"; {facts.rereading.reason}: {facts.rereading.found}" if isinstance(facts.rereading, Finding) else ""
    return shut_gate(
        "ArtifactVerified",
        ARTIFACT_RULE,
        Finding(
            reason="ListingDiffers",
            found=f"the store shows other files at {uri} than those that were verified{why}",
            expected="every file hashed",
            remedy="none, if the files were replaced: Gatehouse reads them again; no one may write there meanwhile",
        ),
        status="Unknown",
        attention="Time",
    )


def _next_check(facts: Facts, most: timedelta) -> str:
    """When the files are checked again, and how to check now. An exact time would differ at each check."""
    metadata, registry = facts.version.metadata, facts.registry
    if isinstance(registry, ModelRegistry):
        most = min(most, duration(registry.spec.verification.interval))
    return (
        f"Gatehouse checks again within {most.total_seconds():g} s, and at once after: kubectl annotate modelversion "
        f'{metadata.name} -n {metadata.namespace} --overwrite {ANNOTATION_RECONCILE_REQUESTED_AT}="$(date)"'
    )


def _invalid(record: ArtifactRecord, *, then: str) -> GateState:
    first = record.problems[0] if record.problems else Finding(reason="Invalid", found="?", expected="?", remedy="")
    more = f" (and {len(record.problems) - 1} more)" if len(record.problems) > 1 else ""
    return shut_gate(
        "ArtifactVerified",
        f"{ARTIFACT_RULE} ({first.reason})",
        Finding(
            reason="ArtifactInvalid",
            found=first.found + more,
            expected=first.expected,
            remedy=f"{first.remedy.rstrip(' .')}. {then}" if first.remedy else then,
        ),
        attention="Person",
    )


def hardware_gate(facts: Facts, fit: Fit | None) -> GateState:
    """The version fits its hardware profile. Unknown neither opens nor shuts it."""
    if isinstance(facts.profile, Unmet):
        return _unmet("HardwareFits", HARDWARE_RULE, facts.profile)
    if fit is None:
        return shut_gate(
            "HardwareFits",
            HARDWARE_RULE,
            Finding(reason="NotVerified", found="the weights are not known yet", expected="a verified artifact"),
            status="Unknown",
            attention="Time",
            waiting=True,
        )
    if fit.verdict == "DoesNotFit":
        return shut_gate(
            "HardwareFits",
            HARDWARE_RULE,
            fit.finding,
            attention="Person",
        )
    if fit.verdict == "Unknown":
        return GateState(
            name="HardwareFits",
            open=False,
            unknown=True,
            status="Unknown",
            rule=HARDWARE_RULE,
            finding=fit.finding,
        )
    return open_gate("HardwareFits", HARDWARE_RULE, fit.finding)


def template_gate(facts: Facts, *, owed: bool) -> GateState:
    """The serving template can be written. It is ``owed`` once every other gate is open."""
    refusal = facts.template_problem or _template_refusal(facts)
    if refusal is not None:
        return shut_gate(
            "TemplateEmitted",
            TEMPLATE_RULE,
            refusal,
            attention="Person",
        )
    if not owed:
        return shut_gate(
            "TemplateEmitted",
            TEMPLATE_RULE,
            Finding(reason=NOT_OWED, found="no template, as another gate is shut", expected="every other gate open"),
            attention="None",
            waiting=True,
        )
    limits = "".join(f"; {problem.found}: {problem.remedy}" for problem in _loading_limits(facts))
    return open_gate(
        "TemplateEmitted",
        TEMPLATE_RULE,
        Finding(reason="Emitted", found=f"the serving template is in place{limits}", expected="a serving template"),
    )


def _loading_limits(facts: Facts) -> Sequence[Finding]:
    """The problems of KServe's initializer with the artifact: the template is right, but its Pods may not start."""
    if not isinstance(facts.registry, ModelRegistry):
        return ()
    store = store_for(facts.registry, facts.version.spec.artifact.uri)
    if store is None:
        return ()
    try:
        return loading_of(store).limits
    except Stalled:
        return ()


def _template_refusal(facts: Facts) -> Finding | None:
    """The reason why ``gatehouse.domain.serving.template.render`` cannot write the template, apart from the fit."""
    version, registry = facts.version, facts.registry
    namespace = version.metadata.namespace
    try:
        check_format(version.spec.runtime, version.spec.artifact.format)
        if (
            isinstance(facts.artifact, ArtifactRecord)
            and facts.artifact.outcome == "Verified"
            and facts.artifact.summary
        ):
            check_model_file(facts.artifact.summary)
            check_config(facts.artifact.summary)
        # The registry defines the allowed arguments; without a registry another gate is shut.
        if isinstance(registry, ModelRegistry):
            allowed = registry.spec.serving
            check_serving(version.spec.serving, added=allowed.allowed_arguments, variables=allowed.allowed_environment)
            check_release(version.spec.serving, allowed.vllm_image)
        inference_service_name(version.metadata.name, namespace=namespace, home=namespace)
    except TemplateRefused as refused:
        return refused.finding
    return None


def _unmet(name: str, rule: str, unmet: Unmet) -> GateState:
    attention: Attention = "Person" if unmet.needs_person else "Time"
    return shut_gate(
        name,
        rule,
        unmet.finding,
        attention=attention,
    )


def open_gate(name: str, rule: str, finding: Finding, *, stage: str = "") -> GateState:
    """A gate that is open."""
    return GateState(name=name, open=True, status="True", rule=rule, finding=finding, stage=stage)


def shut_gate(
    name: str,
    rule: str,
    finding: Finding,
    *,
    attention: Attention,
    status: Literal["False", "Unknown"] = "False",
    stage: str = "",
    waiting: bool = False,
) -> GateState:
    """A gate that is shut."""
    return GateState(
        name=name,
        open=False,
        status=status,
        rule=rule,
        finding=finding,
        attention=attention,
        stage=stage,
        waiting=waiting,
    )
