"""Audit records and verdicts, for people and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from gatehouse.domain.audit.findings import Finding, Verdict
from gatehouse.domain.audit.records import AuditRecord, time_text

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


def print_log(console: Console, records: Sequence[AuditRecord]) -> None:
    """A table of records."""
    table = Table("SEQ", "AT", "WHO", "WHAT", "WHY", "", box=None, pad_edge=False)
    for record in records:
        fact = record.fact
        cells = (
            str(record.seq),
            f"{fact.at:%Y-%m-%d %H:%M:%S}",
            fact.actor,
            fact.subject,
            fact.reason,
            fact.message,
        )
        table.add_row(*[_printable(cell) for cell in cells])
    console.print(table)


def _printable(text: str) -> str:
    """Without what moves a terminal's cursor or is rich's markup: records hold what users wrote."""
    plain = "".join(char if char.isprintable() else " " for char in text)
    return plain.replace("[", r"\[")


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


def _finding_wire(finding: Finding) -> dict[str, Any]:
    return {
        "kind": finding.kind,
        "position": finding.position,
        "until": finding.until,
        "message": finding.message,
        "remedy": finding.remedy,
    }


def print_verdict(console: Console, verdict: Verdict, notes: Sequence[str]) -> None:
    """The same for people."""
    word, style = ("intact", "green") if verdict.intact else ("BROKEN", "bold red")
    console.print(f"[{style}]{word}[/]  {verdict.registry}")
    console.print(
        f"  {verdict.records} records looked at, {verdict.first} to {verdict.last}; "
        f"{verdict.checkpoints} checkpoints agree, the newest at {verdict.vouched}"
    )
    for finding in verdict.findings:
        upto = f" to {finding.until}" if finding.until != finding.position else ""
        console.print(f"\n  record {finding.position}{upto}: {finding.kind}", style="red")
        console.print(f"     found  {_printable(finding.message)}")
        console.print(f"     do     {finding.remedy}")
    for note in notes:
        console.print(f"  note: {_printable(note)}")
