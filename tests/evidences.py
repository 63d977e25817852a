"""A version with everything that evidence can be made of, without a cluster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import worlds
from gatehouse.actions.snapshot import Snapshot
from gatehouse.api import GovernancePolicy, HardwareProfile, ModelVersion
from gatehouse.domain.artifact import manifest
from gatehouse.domain.artifact.values import HashSource
from gatehouse.domain.audit.checkpoints import Checkpoint
from gatehouse.domain.audit.keys import Signer, new_key_pem
from gatehouse.domain.audit.records import GENESIS, AuditHead, FactChange, StoredRecord, fact_document, seal
from gatehouse.domain.version.records import FileRecord, StateChange
from gatehouse.evidence.excerpt import lies_in, ranges
from gatehouse.evidence.model import AuditExcerpt, ClusterObjects, EvidenceRows, Subject
from policies import approval, evaluation

__all__ = ["REGISTRY", "excerpt_of", "make_signer", "subject", "trail"]

REGISTRY = "gatehouse-system/local"
SOURCES: Mapping[str, HashSource | None] = {
    "chat_template.jinja": "Bytes",
    "config.json": "Bytes",
    "model.safetensors": "StoreChecksum",
    "tokenizer.json": None,
}
FILES = tuple(
    FileRecord(path=path, size=len(path), etag=f'"{path}"', sha256=f"{number:064x}", source=source)
    for number, (path, source) in enumerate(SOURCES.items(), 1)
)
DIGEST = manifest.digest(manifest.ManifestEntry(file.path, file.size, file.sha256) for file in FILES)


def make_signer() -> Signer:
    """A signer with a key of its own."""
    return Signer.from_pem(new_key_pem()[0], where="a test")


def trail(length: int, *, about: Sequence[int], registry: str = REGISTRY) -> list[StoredRecord]:
    """A chain of records, some of them about version 1 of granite."""
    found: list[StoredRecord] = []
    for seq in range(1, length + 1):
        fact = FactChange(
            at=worlds.NOW + timedelta(seconds=seq),
            actor="gatehouse",
            kind="ModelVersion",
            namespace="team",
            name="granite-1",
            model="granite",
            version="1" if seq in about else "2",
            digest=DIGEST,
            reason="Changed",
            message=f"record {seq} <b>of</b> the trail",
        )
        found.append(
            seal(fact_document(fact), registry=registry, seq=seq, previous=found[-1].hash if found else GENESIS)
        )
    return found


def excerpt_of(
    records: Sequence[StoredRecord], *, about: Sequence[int], checkpoints: Sequence[int], signer: Signer
) -> AuditExcerpt:
    """The excerpt, with checkpoints at these positions."""
    signed: list[Checkpoint] = []
    for seq in checkpoints:
        head = AuditHead(seq, records[seq - 1].hash)
        signed.append(signer.checkpoint(REGISTRY, head, at=worlds.NOW, previous=signed[-1] if signed else None))
    runs = ranges(about, checkpoints, len(records))
    return AuditExcerpt(
        registry=REGISTRY,
        about=list(about),
        records=[stored for first, last in runs for stored in records[first - 1 : last]],
        checkpoints=[each for each in signed if lies_in(each.seq, runs)],
        head=len(records),
    )


def strict() -> GovernancePolicy:
    """A policy that wants an evaluation and an approval."""
    return GovernancePolicy.model_validate(
        {
            "metadata": {"name": "strict"},
            "spec": {
                "evaluations": [
                    {"name": "task", "kind": "Task", "metric": "acc", "operator": ">=", "threshold": "0.7"}
                ],
                "approvals": [{"stage": "staging", "count": 1}],
            },
        }
    )


def _objects(
    *,
    version: ModelVersion,
    profile: HardwareProfile | None,
    template: str | None,
    bodies: Mapping[str, Mapping[str, Any]],
    notes: Sequence[str],
    **objects: Any,
) -> ClusterObjects:
    snapshot = Snapshot(versions=[version], **objects)
    return ClusterObjects(
        version=version, snapshot=snapshot, profile=profile, template=template, bodies=bodies, notes=notes
    )


def subject(*, audit: AuditExcerpt | None = None, **changes: Any) -> Subject:
    """Evidence of ``granite-1``: verified, evaluated, approved. ``changes`` are of what is declared."""
    gate = {"name": "Approved", "stage": "staging", "open": True, "rule": "r", "found": "by bob", "wanted": "one"}
    version = worlds.version(
        submittedBy="carol",
        description='<script>alert("granite")</script>',
        lineage={
            "baseModel": "granite-3.0",
            "trainingData": ["s3://data/a", "s3://data/b"],
            "code": {"repository": "https://git.example.com/granite", "commit": "abcdef0"},
            "hyperparameters": {"lr": "1e-4"},
            "dependencies": ["torch==2.9.0", "vllm"],
        },
        status={
            "phase": "Ready to Deploy",
            "clearedFor": ["staging"],
            "registry": REGISTRY,
            "riskTier": "Low",
            "hardware": {"verdict": "Fits", "weightsBytes": 8_375_000_000, "maxModelLen": 16384, "warnings": ["slow"]},
            "policies": [{"name": "strict", "outcome": "Complies"}],
            "gates": [gate],
        },
    )
    model = worlds.model(
        description="Answers questions",
        license="Apache-2.0",
        tasks=["text-generation"],
        owners=["team"],
        provider="IBM",
    )
    policy = strict()
    values: dict[str, Any] = {
        "version": version,
        "models": [model],
        "registries": [worlds.registry(stages=["staging", "production"])],
        "profile": worlds.profile(),
        "policies": [policy],
        "evaluations": [evaluation(digest=DIGEST, metrics=[{"name": "acc", "value": "0.8"}])],
        "approvals": [approval(digest=DIGEST), approval(name="old", digest=worlds.OTHER_DIGEST)],
        "template": "kind: ServingRuntime\n---\nkind: InferenceService\n",
        "bodies": {
            "version.json": {"metadata": {"name": "granite-1"}, "spec": version.spec.wire()},
            "model.json": {"metadata": {"name": "granite"}, "spec": model.spec.wire()},
            "policies/strict.json": {"metadata": {"name": "strict", "uid": "p-1"}, "spec": policy.spec.wire()},
        },
        "notes": [],
    }
    history = StateChange(
        at=worlds.NOW,
        actor="gatehouse",
        before=None,
        after="Ready to Deploy",
        digest=DIGEST,
        reason="ReadyToDeploy",
        message="every gate is open",
    )
    return Subject(
        at=worlds.NOW,
        tool="gatehouse 0.1.0",
        registry=REGISTRY,
        declared=_objects(**(values | changes)),
        kept=EvidenceRows(
            row=worlds.row(digest=DIGEST, artifact=worlds.record(digest=DIGEST)),
            files=FILES,
            history=[history],
            excerpt=audit or excerpt_of(trail(3, about=[1, 3]), about=[1, 3], checkpoints=[3], signer=make_signer()),
        ),
    )
