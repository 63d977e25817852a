"""Conclusions from the facts of a version, as data for evidence: approvals, results that count, signatures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

from gatehouse.api.governance_policy import GovernancePolicy
from gatehouse.domain.artifact.signature import SIGNATURE
from gatehouse.domain.formats.table import FORMATS
from gatehouse.domain.governance.approvals import ballots
from gatehouse.domain.governance.evaluations import Results, judge_evaluation, why_not_counting
from gatehouse.domain.governance.signature_trust import judge_signature
from gatehouse.evidence.model import Subject

__all__ = ["approvals", "evaluations", "files_of_interest", "hardware", "hash_sources", "policies", "signature"]

_ROLES: Final[Mapping[str, str]] = {
    "config.json": "configuration",
    "generation_config.json": "configuration",
    "quantization_config.json": "configuration",
    "recipe.yaml": "configuration",
    "tokenizer.json": "tokenizer",
    "tokenizer.model": "tokenizer",
    "tokenizer_config.json": "tokenizer, chat template",
    "special_tokens_map.json": "tokenizer",
    "added_tokens.json": "tokenizer",
    "vocab.json": "tokenizer",
    "vocab.txt": "tokenizer",
    "merges.txt": "tokenizer",
    "spiece.model": "tokenizer",
    "tekken.json": "tokenizer",
    "chat_template.jinja": "chat template",
    "chat_template.json": "chat template",
    "README.md": "model card",
} | {name: role for known in FORMATS.values() for name, role in known.roles.items()}


def files_of_interest(subject: Subject) -> list[dict[str, Any]]:
    """Configuration, tokenizer and chat template by hash: files besides the weights that change a model's answers."""
    return [
        {"path": file.path, "bytes": file.size, "sha256": file.sha256, "role": _ROLES[name]}
        for file in subject.kept.files
        if (name := file.path.rpartition("/")[2]) in _ROLES
    ]


def hash_sources(subject: Subject) -> dict[str, list[str]]:
    """The files by the source of their SHA-256: the bytes that were read, the store's checksum, or not recorded."""
    paths: dict[str, list[str]] = {"Bytes": [], "StoreChecksum": [], "NotRecorded": []}
    for file in subject.kept.files:
        paths[file.source or "NotRecorded"].append(file.path)
    return paths


def evaluations(subject: Subject) -> dict[str, Any]:
    """Every result that names the version, whether the result counts, and each requirement with its results."""
    snapshot, version, digest = subject.declared.snapshot, subject.version, subject.digest
    named = sorted(snapshot.evaluations_of(version), key=lambda evaluation: evaluation.metadata.name)
    results = Results(version=version, digest=digest, now=subject.at, evaluations=named)
    listed = []
    for evaluation in named:
        reason = why_not_counting(evaluation, uid=version.metadata.uid, digest=digest, now=subject.at)
        counted = {"name": evaluation.metadata.name, "counts": reason is None, "why": reason}
        listed.append({**counted, "spec": evaluation.spec.wire()})
    requirements = []
    for policy in snapshot.policies:
        for requirement in policy.spec.evaluations:
            verdict = judge_evaluation(requirement, results, own=policy.spec.submitter_evaluations)
            met_by = verdict.evaluation.metadata.name if verdict.evaluation else None
            requirements.append(
                {
                    "policy": policy.metadata.name,
                    "requirement": requirement.wire(),
                    "met": verdict.met,
                    "found": verdict.found,
                    "evaluation": met_by,
                }
            )
    return {"results": listed, "requirements": requirements}


def approvals(subject: Subject) -> list[dict[str, Any]]:
    """Every decision on the version by stage, oldest first, with the reason if a decision does not count."""
    snapshot, version = subject.declared.snapshot, subject.version
    named, tier = snapshot.approvals_of(version), snapshot.tier_of(version)
    if tier is None:
        return [{"name": approval.metadata.name, "spec": approval.spec.wire()} for approval in named]
    stages = dict.fromkeys([*subject.stages, *(approval.spec.stage for approval in named)])
    return [
        {
            "name": ballot.approval.metadata.name,
            "at": ballot.approval.metadata.creation_timestamp,
            "counts": ballot.counts,
            "why": ballot.objection.found if ballot.objection else None,
            "spec": ballot.approval.spec.wire(),
        }
        for stage in stages
        for ballot in ballots(named, version=version, digest=subject.digest, tier=tier, stage=stage)
    ]


def policies(subject: Subject) -> list[dict[str, Any]]:
    """The policies that applied, with each policy's verdict on the version."""
    modes = {policy.metadata.name: policy.spec.mode for policy in subject.declared.snapshot.policies}
    return [
        {"name": said.name, "outcome": said.outcome, "mode": modes.get(said.name)}
        for said in subject.version.status.policies
    ]


def signature(subject: Subject) -> dict[str, Any]:
    """The content of ``model.sig``, and the verdict of each policy that requires a signature."""
    artifact = subject.kept.row.artifact
    record = artifact.signature if artifact else None
    judged = [
        _judged(policy, subject) for policy in subject.declared.snapshot.policies if policy.spec.artifact.signature
    ]
    return {
        "file": SIGNATURE,
        "there": record is not None,
        "problem": record.problem if record else None,
        "record": asdict(record) if record else None,
        "policies": judged,
    }


def _judged(policy: GovernancePolicy, subject: Subject) -> dict[str, Any]:
    required, artifact = policy.spec.artifact.signature, subject.kept.row.artifact
    if required is None:
        return {}
    check = judge_signature(artifact.signature if artifact else None, required)
    return {
        "policy": policy.metadata.name,
        "signedBy": check.signed_by,
        "problem": asdict(check.problem) if check.problem else None,
    }


def hardware(subject: Subject) -> dict[str, Any]:
    """The fit with its figures, and the gate's message."""
    status = subject.version.status
    gate = next((gate.wire() for gate in status.gates if gate.name == "HardwareFits"), None)
    return {
        "profile": subject.version.spec.hardware_profile_ref.name,
        "fit": status.hardware.wire() if status.hardware else None,
        "gate": gate,
    }
