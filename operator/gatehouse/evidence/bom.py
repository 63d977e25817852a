"""The bill of materials of a model: CycloneDX 1.6 JSON with a machine-learning-model component and its model card."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from gatehouse.domain.governance.evaluations import why_not_counting
from gatehouse.evidence.model import Subject

__all__ = ["bill_of_materials"]

_NAMESPACE: Final = uuid.UUID("6d1c8d0c-6f5c-5c0e-9d55-0a3f6c3a8b11")
_SCHEMA: Final = "http://cyclonedx.org/schema/bom-1.6.schema.json"


def bill_of_materials(subject: Subject) -> dict[str, Any]:
    """The BOM. Its serial number follows from the version's digest and the time."""
    at = subject.at.isoformat(timespec="seconds")
    serial = uuid.uuid5(_NAMESPACE, f"{subject.registry}/{subject.kept.row.id}/{subject.digest}/{at}")
    reference = f"model:{subject.kept.row.model}@{subject.kept.row.version}"
    dependencies = list(_dependencies(subject))
    return {
        "$schema": _SCHEMA,
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{serial}",
        "version": 1,
        "metadata": {
            "timestamp": at,
            "tools": {
                "components": [{"type": "application", "name": "gatehouse", "version": subject.tool.split()[-1]}]
            },
            "component": _model(subject, reference),
        },
        "components": [*_files(subject), *dependencies],
        "dependencies": [
            {"ref": reference, "dependsOn": [library["bom-ref"] for library in dependencies]},
            *({"ref": library["bom-ref"]} for library in dependencies),
        ],
    }


def _model(subject: Subject, reference: str) -> dict[str, Any]:
    model, version, row = subject.model, subject.version, subject.kept.row
    spec = model.spec if model else None
    lineage = version.spec.lineage
    properties = {
        "gatehouse:digest": subject.digest,
        "gatehouse:uri": row.uri,
        "gatehouse:phase": version.status.phase,
        "gatehouse:clearedFor": ", ".join(version.status.cleared_for) or None,
        "gatehouse:riskTier": subject.declared.snapshot.tier_of(version),
        "gatehouse:format": version.spec.artifact.format,
        "gatehouse:quantization": version.spec.artifact.quantization,
    }
    references = {"vcs": lineage.code.repository if lineage.code else None, "build-meta": lineage.pipeline_run}
    component: dict[str, Any] = {
        "type": "machine-learning-model",
        "bom-ref": reference,
        "name": row.model,
        "version": row.version,
        "description": version.spec.description or (spec.description if spec else None),
        "supplier": {"name": spec.provider} if spec and spec.provider else None,
        "licenses": [{"license": {"name": spec.license}}] if spec and spec.license else None,
        "externalReferences": [{"type": kind, "url": url} for kind, url in references.items() if url and _is_url(url)],
        "pedigree": {"ancestors": [{"type": "machine-learning-model", "name": lineage.base_model}]}
        if lineage.base_model
        else None,
        "modelCard": _model_card(subject),
        "properties": [{"name": name, "value": value} for name, value in properties.items() if value],
    }
    return _filled(component)


def _model_card(subject: Subject) -> dict[str, Any]:
    model, version = subject.model, subject.version
    artifact = subject.kept.row.artifact
    config = artifact.summary.config if artifact and artifact.summary else None
    spec = model.spec if model else None
    parameters = {
        "task": spec.tasks[0] if spec and spec.tasks else None,
        "architectureFamily": config.model_type if config else None,
        "modelArchitecture": config.architecture if config else None,
        "datasets": [{"type": "dataset", "name": name} for name in version.spec.lineage.training_data],
    }
    considerations = {
        "users": list(spec.owners) if spec else [],
        "useCases": list(spec.tasks) if spec else [],
        "technicalLimitations": list(version.status.hardware.warnings) if version.status.hardware else [],
    }
    return _filled(
        {
            "modelParameters": _filled(parameters),
            "quantitativeAnalysis": _filled({"performanceMetrics": list(_metrics(subject))}),
            "considerations": _filled(considerations),
        }
    )


def _metrics(subject: Subject) -> Iterator[dict[str, Any]]:
    """The results for the recorded digest. Policies' thresholds are in evaluations.json."""
    uid = subject.version.metadata.uid
    counted = [
        evaluation
        for evaluation in subject.declared.snapshot.evaluations_of(subject.version)
        if why_not_counting(evaluation, uid=uid, digest=subject.digest, now=subject.at) is None
    ]
    for evaluation in sorted(counted, key=lambda one: (one.spec.evaluated_at, one.metadata.name), reverse=True):
        where = f"{evaluation.spec.suite} on {evaluation.spec.dataset.name}"
        for metric in evaluation.spec.metrics:
            yield {"type": f"{metric.name} ({where})", "value": metric.value}
            for part in metric.slices:
                yield {"type": f"{metric.name} ({where})", "value": part.value, "slice": part.name}


def _files(subject: Subject) -> Sequence[dict[str, Any]]:
    return [
        {
            "type": "file",
            "bom-ref": f"file:{file.path}",
            "name": file.path,
            "hashes": [{"alg": "SHA-256", "content": file.sha256}],
        }
        for file in subject.kept.files
    ]


def _dependencies(subject: Subject) -> Iterator[dict[str, Any]]:
    """The packages that the version declares as name==version."""
    for text in dict.fromkeys(subject.version.spec.lineage.dependencies):
        name, _, version = text.partition("==")
        yield _filled({"type": "library", "bom-ref": f"dependency:{text}", "name": name, "version": version or None})


def _is_url(text: str) -> bool:
    return text.startswith(("https://", "http://", "git+https://", "ssh://")) and " " not in text


def _filled(members: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value not in (None, [], {})}
