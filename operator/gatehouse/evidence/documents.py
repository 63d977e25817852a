"""The entries of a bundle, each a separate document for programs and people. All functions are pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any, Final

import orjson

from gatehouse.api.governance_policy import GovernancePolicy
from gatehouse.domain.artifact import manifest
from gatehouse.domain.audit.checkpoints import Checkpoint, checkpoint_json
from gatehouse.domain.audit.records import time_text
from gatehouse.domain.serving.template import to_yaml
from gatehouse.evidence import findings
from gatehouse.evidence.bom import bill_of_materials
from gatehouse.evidence.envelope import json_bytes
from gatehouse.evidence.model import AuditExcerpt, Subject
from gatehouse.evidence.report import report

__all__ = ["AUDIT", "FORMAT", "MANIFEST", "RECORDS", "about", "entries"]

FORMAT: Final = 1
MANIFEST: Final = "manifest.txt"
AUDIT: Final = "audit/excerpt.json"
RECORDS: Final = "audit/records.jsonl"


def about(subject: Subject) -> dict[str, Any]:
    """The index's values about the version."""
    version, row = subject.version, subject.kept.row
    artifact = row.artifact
    return {
        "format": FORMAT,
        "tool": subject.tool,
        "madeAt": time_text(subject.at),
        "registry": subject.registry,
        "namespace": version.metadata.namespace,
        "name": version.metadata.name,
        "uid": version.metadata.uid,
        "model": row.model,
        "version": row.version,
        "uri": row.uri,
        "digest": subject.digest,
        "found": None
        if artifact is None
        else {
            "outcome": artifact.outcome,
            "digest": artifact.digest,
            "verifiedAt": time_text(artifact.verified_at),
            "changed": list(artifact.changed),
        },
        "phase": version.status.phase,
        "clearedFor": list(version.status.cleared_for),
        "deployedTo": list(version.status.deployed_to),
        "notes": [*subject.declared.notes, *subject.kept.notes],
    }


def entries(subject: Subject) -> dict[str, bytes]:
    """Every entry but the index and its envelope."""
    return dict(_entries(subject))


def _entries(subject: Subject) -> Iterator[tuple[str, bytes]]:
    declared, kept = subject.declared, subject.kept
    yield MANIFEST, manifest_of(subject).encode()
    for name, body in declared.bodies.items():
        if not name.startswith("policies/"):
            yield name, json_bytes(body)
    for policy in declared.snapshot.policies:
        body = declared.bodies[f"policies/{policy.metadata.name}.json"]
        yield f"policies/{policy.metadata.name}.yaml", to_yaml(_applied(policy, body)).encode()
    for name, value in (
        ("policies.json", findings.policies(subject)),
        ("files.json", findings.files_of_interest(subject)),
        ("artifact.json", _artifact(subject)),
        ("hashes.json", findings.hash_sources(subject)),
        ("signature.json", findings.signature(subject)),
        ("lineage.json", declared.version.spec.lineage.wire()),
        ("evaluations.json", findings.evaluations(subject)),
        ("approvals.json", findings.approvals(subject)),
        ("hardware.json", findings.hardware(subject)),
        ("gates.json", [gate.wire() for gate in declared.version.status.gates]),
        ("history.json", [{**asdict(change), "at": time_text(change.at)} for change in kept.history]),
        (AUDIT, _excerpt(kept.excerpt)),
        ("bom.cdx.json", bill_of_materials(subject)),
    ):
        yield name, json_bytes(value)
    if kept.row.governance:
        yield "judgement.json", kept.row.governance.encode()
    yield RECORDS, "".join(f"{stored.content}\n" for stored in kept.excerpt.records).encode("utf-8", "surrogatepass")
    if declared.template is not None:
        yield "template.yaml", declared.template.encode()
    yield "report.html", report(subject).encode()


def manifest_of(subject: Subject) -> str:
    """The manifest, in the format of ``sha256sum``, from the rows."""
    return manifest.render(manifest.ManifestEntry(file.path, file.size, file.sha256) for file in subject.kept.files)


def _applied(policy: GovernancePolicy, body: Mapping[str, Any]) -> dict[str, Any]:
    """A policy in a form that can be applied again."""
    kept = {key: value for key, value in body["metadata"].items() if key in {"name", "uid", "generation", "labels"}}
    return {
        "apiVersion": body.get("apiVersion"),
        "kind": policy.info.kind,
        "metadata": kept,
        "spec": body.get("spec", {}),
    }


def _artifact(subject: Subject) -> dict[str, Any] | None:
    artifact = subject.kept.row.artifact
    if artifact is None:
        return None
    summary = artifact.summary
    return {
        "outcome": artifact.outcome,
        "digest": artifact.digest,
        "contentSource": artifact.content_source,
        "verifiedAt": time_text(artifact.verified_at),
        "problems": [asdict(problem) for problem in artifact.problems],
        "changed": list(artifact.changed),
        "summary": None
        if summary is None
        else {
            "format": summary.format,
            "files": summary.files,
            "totalBytes": summary.total_bytes,
            "parameters": summary.parameters,
            "weightsBytes": summary.weights_bytes,
            "dtypes": dict(summary.dtypes),
            "config": summary.config.to_dict() if summary.config else None,
            "modelFile": summary.model_file,
            "unsafeFiles": list(summary.unsafe_files),
            "notes": list(summary.notes),
        },
    }


def _excerpt(excerpt: AuditExcerpt) -> dict[str, Any]:
    return {
        "registry": excerpt.registry,
        "about": list(excerpt.about),
        "head": excerpt.head,
        "checkpoints": [_checkpoint(checkpoint) for checkpoint in excerpt.checkpoints],
    }


def _checkpoint(checkpoint: Checkpoint) -> Any:
    return orjson.loads(checkpoint_json(checkpoint))
