"""The report for people, arranged by the nine sections of Annex IV of the EU AI Act (Regulation 2024/1689).

The report states for each section what Gatehouse knows, and what the provider must add. The report supports a technical
documentation and certifies nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from gatehouse.domain.artifact.values import ArtifactRecord
from gatehouse.domain.audit.records import RecordUnreadable, read_record
from gatehouse.domain.common.text import human_bytes
from gatehouse.domain.governance.held import shown_tier
from gatehouse.evidence import findings
from gatehouse.evidence.html import absent, facts, items, page, paragraph, section, table
from gatehouse.evidence.model import Subject

__all__ = ["report"]

_NOT_KNOWN = "Gatehouse does not know this; the provider has to add it."


def report(subject: Subject) -> str:
    """A self-contained HTML page."""
    row = subject.kept.row
    return page(f"Evidence: {row.model} {row.version}", _parts(subject))


def _parts(subject: Subject) -> Iterator[str]:
    yield paragraph(
        "This report supports a technical documentation under Article 11 and Annex IV of Regulation (EU) 2024/1689. It "
        "certifies nothing: it says what Gatehouse recorded about these bytes, and where it recorded nothing.",
        hint=True,
    )
    yield _summary(subject)
    for heading, parts in (
        ("1. General description of the system", _general(subject)),
        ("2. Elements of the system and its development", _development(subject)),
        ("3. Monitoring, functioning and control", _control(subject)),
        ("4. Appropriateness of the performance metrics", _metrics(subject)),
        ("5. Risk management system", _risk(subject)),
        ("6. Changes through the lifecycle", _changes(subject)),
        ("7. Harmonised standards applied", _standards()),
        ("8. EU declaration of conformity", iter((absent(_NOT_KNOWN),))),
        ("9. Post-market monitoring", _post_market(subject)),
        ("How to check this bundle", _checking(subject)),
    ):
        yield section(heading, parts)


def _summary(subject: Subject) -> str:
    version, row = subject.declared.version, subject.kept.row
    return facts(
        {
            "Object": f"ModelVersion {version.metadata.namespace}/{version.metadata.name} ({version.metadata.uid})",
            "Registry": f"{subject.registry}, row {row.id}",
            "Recorded digest": subject.digest,
            "Digest found last": _found(row.artifact, subject.digest),
            "SHA-256 of the files": _sources(subject),
            "Phase": version.status.phase,
            "Cleared for": ", ".join(version.status.cleared_for) or "no stage",
            "Deployed to": ", ".join(version.status.deployed_to) or "no stage",
            "Made": f"{subject.at.isoformat(timespec='seconds')} by {subject.tool}",
        }
    ) + items([*subject.declared.notes, *subject.kept.notes])


def _found(artifact: ArtifactRecord | None, recorded: str) -> str:
    if artifact is None:
        return "not checked"
    when = f"on {artifact.verified_at.isoformat(timespec='seconds')}"
    if artifact.digest == recorded:
        refused = f"; refused: {artifact.problems[0].reason}" if artifact.problems else ""
        return f"the recorded one, {when}{refused}"
    paths = f"; other bytes in {', '.join(artifact.changed)}" if artifact.changed else ""
    return f"ANOTHER: {artifact.digest or artifact.outcome}, {when}{paths}"


def _sources(subject: Subject) -> str:
    words = {
        "Bytes": "read and hashed",
        "StoreChecksum": "by the store's own checksum",
        "NotRecorded": "not recorded how",
    }
    counts = ((words[name], len(paths)) for name, paths in findings.hash_sources(subject).items())
    return ", ".join(f"{count} {word}" for word, count in counts if count)


def _general(subject: Subject) -> Iterator[str]:
    model, version = subject.declared.model, subject.declared.version
    spec = model.spec if model else None
    yield facts(
        {
            "Intended purpose": spec.description if spec else None,
            "Tasks": ", ".join(spec.tasks) if spec else None,
            "Languages": ", ".join(spec.languages) if spec else None,
            "Provider": spec.provider if spec else None,
            "Owners": ", ".join(spec.owners) if spec else None,
            "Licence": spec.license if spec else None,
            "Version": version.spec.version,
            "Description of the version": version.spec.description,
            "Submitted by": version.spec.submitted_by,
            "Applied by": version.spec.submitted_via,
        }
    )
    if spec is None or not spec.description:
        yield absent("The model names no intended purpose.")
    yield "<h3>Hardware</h3>\n"
    fit, profile = version.status.hardware, subject.declared.profile
    accelerator = profile.spec.accelerator if profile else None
    yield facts(
        {
            "Profile": version.spec.hardware_profile_ref.name,
            "Accelerator": f"{accelerator.vendor} {accelerator.model}, {accelerator.memory} each"
            if accelerator
            else None,
            "Verdict": fit.verdict if fit else "not known",
            "Weights": human_bytes(fit.weights_bytes) if fit and fit.weights_bytes else None,
            "Longest sequence": f"{fit.max_model_len} tokens" if fit and fit.max_model_len else None,
            "Runtime": version.spec.runtime,
        }
    )
    yield paragraph("Instructions for deployment: template.yaml." if subject.declared.template else _no_template())


def _no_template() -> str:
    return "There is no serving template: the version is not ready to be deployed."


def _development(subject: Subject) -> Iterator[str]:
    lineage, artifact = subject.declared.version.spec.lineage, subject.kept.row.artifact
    yield facts(
        {
            "Base model": lineage.base_model,
            "Training code": lineage.code.repository if lineage.code else None,
            "Commit": lineage.code.commit if lineage.code else None,
            "Pipeline run": lineage.pipeline_run,
        }
    )
    yield "<h3>Data</h3>\n"
    yield items(lineage.training_data) or absent("The version names no training data.")
    if lineage.hyperparameters:
        yield "<h3>Hyperparameters</h3>\n" + facts(lineage.hyperparameters)
    if lineage.dependencies:
        yield "<h3>Dependencies</h3>\n" + items(lineage.dependencies)
    summary = artifact.summary if artifact else None
    if summary is not None:
        yield "<h3>Architecture and weights</h3>\n"
        config = summary.config
        yield facts(
            {
                "Architecture": config.architecture if config else None,
                "Parameters": f"{summary.parameters:,}" if summary.parameters else None,
                "Data types": ", ".join(f"{name}: {count:,}" for name, count in summary.dtypes.items()),
                "Format": summary.format,
                "Quantization": subject.declared.version.spec.artifact.quantization,
                "Files": f"{summary.files}, {human_bytes(summary.total_bytes)}",
                "Code that a loader would run": "named (auto_map)" if config and config.auto_map else "none",
            }
        )
    yield "<h3>Configuration, tokenizer and chat template</h3>\n"
    yield table(
        ("File", "Role", "SHA-256"),
        [(each["path"], each["role"], each["sha256"]) for each in findings.files_of_interest(subject)],
    )
    yield "<h3>Cybersecurity: integrity of the files</h3>\n"
    yield from _signature(subject)
    yield paragraph(
        "Every file with its SHA-256: manifest.txt, which sha256sum -c reads. Bill of materials: bom.cdx.json."
    )


def _signature(subject: Subject) -> Iterator[str]:
    found = findings.signature(subject)
    if not found["there"]:
        yield absent("There is no model signature (model.sig) beside the files.")
    elif found["problem"]:
        yield absent(f"model.sig: {found['problem']}")
    else:
        yield paragraph("model.sig is over exactly these files.")
    yield table(
        ("Policy", "Signed by", "Problem"),
        [(each["policy"], each["signedBy"], (each["problem"] or {}).get("found")) for each in found["policies"]],
    )


def _control(subject: Subject) -> Iterator[str]:
    yield paragraph("Human oversight before deployment: decisions of people on these very bytes.")
    decided = findings.approvals(subject)
    yield table(
        ("Stage", "Who", "Decision", "Reason", "At", "Counts"),
        [
            (
                each["spec"]["stage"],
                each["spec"]["approver"],
                each["spec"]["decision"],
                each["spec"]["reason"],
                each.get("at"),
                "yes" if each.get("counts") else f"no: {each.get('why') or 'not judged'}",
            )
            for each in decided
        ],
    ) or absent("Nobody has decided on the version.")
    warnings = subject.declared.version.status.hardware.warnings if subject.declared.version.status.hardware else []
    yield items(warnings)
    yield "<h3>Gates</h3>\n"
    yield table(
        ("Gate", "Stage", "State", "Found", "Expected"),
        [
            (
                gate.name,
                gate.stage or "all",
                "open" if gate.open else "shut" if gate.shut else "unknown",
                gate.found,
                gate.wanted,
            )
            for gate in subject.declared.version.status.gates
        ],
    )
    yield paragraph("Expected performance for groups of persons, and unintended outcomes: " + _NOT_KNOWN, hint=True)


def _metrics(subject: Subject) -> Iterator[str]:
    found = findings.evaluations(subject)
    yield table(
        ("Policy", "Requirement", "Expected", "Found", "Met"),
        [
            (
                each["policy"],
                each["requirement"]["name"],
                _wanted(each["requirement"]),
                each["found"],
                "yes" if each["met"] else "no",
            )
            for each in found["requirements"]
        ],
    ) or absent("No policy that applies wants an evaluation.")
    yield table(
        ("Result", "Kind", "Suite", "Data set", "Metrics", "Evaluator", "Counts"),
        [
            (
                each["name"],
                each["spec"]["kind"],
                each["spec"]["suite"],
                " ".join(str(part) for part in each["spec"]["dataset"].values()),
                ", ".join(f"{metric['name']} {metric['value']}" for metric in each["spec"]["metrics"]),
                each["spec"]["evaluator"],
                "yes" if each["counts"] else f"no: {each['why']}",
            )
            for each in found["results"]
        ],
    )
    yield paragraph("Why these metrics fit the purpose: " + _NOT_KNOWN, hint=True)


def _wanted(requirement: dict[str, Any]) -> str:
    data = f" on {requirement['dataset']}" if requirement.get("dataset") else ""
    return f"{requirement['metric']} {requirement['operator']} {requirement['threshold']}{data}"


def _risk(subject: Subject) -> Iterator[str]:
    model = subject.declared.model
    yield facts({"Risk tier": shown_tier(subject.declared.version, model) if model else "not known"})
    yield paragraph("Policies that applied when this was made; policies/ holds them as they stood.")
    yield table(
        ("Policy", "Mode", "Outcome"),
        [(each["name"], each["mode"], each["outcome"]) for each in findings.policies(subject)],
    ) or absent("No policy applied to the version.")
    yield paragraph("The provider's risk management file: " + _NOT_KNOWN, hint=True)


def _changes(subject: Subject) -> Iterator[str]:
    yield "<h3>History of the version</h3>\n"
    yield table(
        ("At", "Who", "From", "To", "Reason", "Message"),
        [
            (each.at.isoformat(timespec="seconds"), each.actor, each.before, each.after, each.reason, each.message)
            for each in subject.kept.history
        ],
    )
    yield "<h3>Audit trail</h3>\n"
    yield table(("Record", "At", "Who", "What", "Reason", "Message"), _audit_rows(subject)) or absent(
        "The audit trail has no record about the version."
    )


def _audit_rows(subject: Subject) -> Iterator[tuple[Any, ...]]:
    about = set(subject.kept.excerpt.about)
    for stored in subject.kept.excerpt.records:
        if stored.seq not in about:
            continue
        try:
            fact = read_record(stored).fact
        except RecordUnreadable as error:
            yield stored.seq, None, None, None, None, str(error)
            continue
        at = fact.at.isoformat(timespec="seconds")
        yield stored.seq, at, fact.actor, fact.subject, fact.reason, fact.message


def _standards() -> Iterator[str]:
    yield absent(_NOT_KNOWN)
    yield paragraph(
        "Formats of this bundle: CycloneDX 1.6, in-toto and DSSE, Sigstore bundle v0.3, sha256sum. None of them is a "
        "harmonised standard.",
        hint=True,
    )


def _post_market(subject: Subject) -> Iterator[str]:
    deployed = subject.declared.version.status.deployed_to
    yield facts({"Running in": ", ".join(deployed) or "no stage that Gatehouse sees"})
    yield paragraph(
        "Gatehouse looks at the stored files again and again and shuts the gate when they are not the recorded ones; "
        "it does not watch what a model answers. The plan for that: " + _NOT_KNOWN,
        hint=True,
    )


def _checking(subject: Subject) -> Iterator[str]:
    excerpt = subject.kept.excerpt
    yield paragraph(
        "gatehouse evidence verify FILE.zip --public-key KEY.pub needs no network and finds any changed byte."
    )
    yield paragraph(
        f"The audit excerpt has {len(excerpt.records)} records, {len(excerpt.about)} of them about this version or "
        f"its policies, and the others to link them to {len(excerpt.checkpoints)} checkpoints. It proves the records "
        "that it has; that the trail has no others about this version is told by gatehouse audit verify on the whole "
        "trail.",
        hint=True,
    )
