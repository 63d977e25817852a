"""Audit records and verdicts, for people and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gatehouse.domain.audit.records import AuditRecord, time_text
from gatehouse.domain.audit.trust import AuditFinding, Verdict
from gatehouse.printing import Printer

__all__ = ["print_log", "print_verdict", "record_wire", "verdict_wire"]


def record_wire(record: AuditRecord) -> dict[str, Any]:
    """A record as ``log -o json`` prints it."""
    fact = record.fact
    return {
        "registry": record.registry,
        "seq": record.seq,
        "at": time_text(fact.at),
        "actor": fact.actor,
        "kind": fact.kind,
        "namespace": fact.namespace,
        "name": fact.name,
        "model": fact.model,
        "version": fact.version,
        "digest": fact.digest,
        "reason": fact.reason,
        "message": fact.message,
        "before": fact.before,
        "after": fact.after,
        "previous": record.previous,
        "hash": record.hash,
    }


def print_log(printer: Printer, records: Sequence[AuditRecord]) -> None:
    """Prints records as a table."""
    printer.table(("SEQ", "AT", "WHO", "WHAT", "WHY", ""), map(_row, records))


def _row(record: AuditRecord) -> Sequence[str]:
    fact = record.fact
    return str(record.seq), f"{fact.at:%Y-%m-%d %H:%M:%S}", fact.actor, fact.subject, fact.reason, fact.message


# The verdict


def verdict_wire(verdict: Verdict, notes: Sequence[str]) -> dict[str, Any]:
    """A verdict as ``verify -o json`` prints it."""
    first = verdict.first_bad
    return {
        "registry": verdict.registry,
        "intact": verdict.intact,
        "records": verdict.records,
        "first": verdict.first,
        "last": verdict.last,
        "summarised": verdict.summarised,
        "checkpoints": verdict.checkpoints,
        "vouched": verdict.vouched,
        "firstBad": None if first is None else _finding_wire(first),
        "findings": [_finding_wire(finding) for finding in verdict.findings],
        "notes": list(notes),
    }


def _finding_wire(finding: AuditFinding) -> dict[str, Any]:
    return {
        "kind": finding.kind,
        "position": finding.position,
        "until": finding.until,
        "message": finding.message,
        "remedy": finding.remedy,
    }


def print_verdict(printer: Printer, verdict: Verdict, notes: Sequence[str]) -> None:
    """Prints a verdict for people."""
    word, style = ("intact", "green") if verdict.intact else ("BROKEN", "bold red")
    printer.line((word, style), f"  {verdict.registry}")
    printer.line(
        f"  {verdict.records} records checked, {verdict.first} to {verdict.last}; "
        f"{verdict.checkpoints} checkpoints agree, the newest at {verdict.vouched}"
    )
    for finding in verdict.findings:
        upto = f" to {finding.until}" if finding.until != finding.position else ""
        printer.line()
        printer.line(f"  record {finding.position}{upto}: {finding.kind}", style="red")
        printer.line(f"     found  {finding.message}")
        printer.line(f"     do     {finding.remedy}")
    for note in notes:
        printer.line(f"  note: {note}")
