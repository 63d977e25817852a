"""How ``gatehouse explain`` shows a version to people: causes in full, all other gates in one line each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from gatehouse.printing import Printer

if TYPE_CHECKING:
    from gatehouse.actions.explanation import Explanation
    from gatehouse.actions.next_steps import Advice
    from gatehouse.api.model_version import Gate, ModelVersion, RunningStatus

__all__ = ["print_explanation"]


def print_explanation(printer: Printer, explanation: Explanation, *, every: bool = False) -> None:
    """Prints which gates are shut and why, and the other gates in one line each; with ``every`` each gate in full."""
    version, gates = explanation.version, explanation.version.status.gates
    causes = [gate for gate in gates if gate.shut and not gate.waiting]
    printer.line(_headline(explanation, causes), style="bold")
    summary = explanation.summary
    # The text of a gate follows below; no gate mentions an outage or the end of the grace.
    if summary and not explanation.ready and not any(summary.startswith(gate.found) for gate in causes):
        printer.line(f"  {summary}")
    abnormal = explanation.abnormal
    if abnormal is not None and abnormal.message and abnormal.message != explanation.ready_message:
        printer.line(f"  {abnormal.type}: {abnormal.message}")
    advice = explanation.advice
    if every:
        _print_by_stage(printer, version, advice)
    else:
        for gate in causes:
            _print_gate(printer, gate, advice.get((gate.name, gate.stage)), stage=gate.stage)
        _print_names(printer, "wait", [gate for gate in gates if gate.shut and gate.waiting])
        for gate in gates:
            if gate.unknown:
                _print_gate(printer, gate, advice.get((gate.name, gate.stage)), stage=gate.stage)
        _print_names(printer, "open", [gate for gate in gates if gate.open])
    _print_running(printer, version.status.running)
    for warning in version.status.hardware.warnings if version.status.hardware else ():
        printer.line()
        printer.line(f"warning: {warning}")
    for note in version.status.artifact.notes if version.status.artifact else ():
        printer.line()
        printer.line(f"note: {note}")
    if explanation.ready:
        printer.line()
        name, namespace = version.metadata.name, version.metadata.namespace
        printer.line(f"next: gatehouse template {name} -n {namespace} | kubectl apply -f -")


def _print_running(printer: Printer, running: Sequence[RunningStatus]) -> None:
    """One line for the Pods of each service; a digest is shown where it is not the approved one."""
    if running:
        printer.line()
    for pods in running:
        where = f"{_count(pods.pods)} of {pods.namespace}/{pods.service} in {pods.stage}, {pods.ready} ready"
        if pods.approved:
            printer.line(("runs ", "green"), where)
        else:
            printer.line(("runs ", "red"), f"{where}: not approved, with {pods.digest or 'an unknown digest'}")


def _count(pods: int) -> str:
    return "1 Pod" if pods == 1 else f"{pods} Pods"


def _headline(explanation: Explanation, causes: Sequence[Gate]) -> str:
    """The state of the version, in one sentence."""
    status, metadata = explanation.version.status, explanation.version.metadata
    where = f"{metadata.namespace}/{metadata.name}"
    if not status.phase:
        return f"{where} was not reconciled yet."
    if not explanation.current:
        return f"{where} was {status.phase} before it was changed."
    shut = _listed([_named(gate) for gate in causes])
    why = f"{shut} {'is' if len(causes) == 1 else 'are'} shut" if causes else ""
    if explanation.ready:
        uncleared = [stage for stage in explanation.stages if stage not in status.cleared_for]
        to = f"{where} is {status.phase} to {_listed(status.cleared_for)}"
        return f"{to}, not to {_listed(uncleared)}{f': {why}' if why else ''}." if uncleared else f"{to}."
    return f"{where} is not ready to deploy: {status.phase}{f', as {why}' if why else ''}."


def _named(gate: Gate) -> str:
    return f"{gate.name} for {gate.stage}" if gate.stage else gate.name


def _listed(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else "".join(names)


def _print_by_stage(printer: Printer, version: ModelVersion, advice: Advice) -> None:
    for stage, gates in _by_stage(version.status.gates).items():
        if stage:
            cleared = "cleared" if stage in version.status.cleared_for else "not cleared"
            printer.line()
            printer.line(f"stage {stage}  {cleared}", style="bold")
        for gate in gates:
            _print_gate(printer, gate, advice.get((gate.name, gate.stage)))


def _by_stage(gates: Sequence[Gate]) -> Mapping[str, Sequence[Gate]]:
    """The gates of the version first, under an empty name; then those of each stage in the order of the status."""
    order = list(dict.fromkeys(["", *(gate.stage for gate in gates)]))
    sorted_gates = sorted(gates, key=lambda gate: order.index(gate.stage))
    return {stage: list(group) for stage, group in groupby(sorted_gates, key=lambda gate: gate.stage)}


def _print_gate(printer: Printer, gate: Gate, you: str | None, *, stage: str = "") -> None:
    printer.line()
    printer.line(_state(gate), (gate.name, "bold"), f" for {stage}" if stage else "")
    lines = (("rule", gate.rule), ("found", gate.found), ("expected", gate.wanted), ("do", gate.remedy), ("you", you))
    for label, value in lines:
        if value:
            printer.line(f"     {label:9}{value}")


def _state(gate: Gate) -> tuple[str, str]:
    if gate.open:
        return "open ", "green"
    if gate.unknown:
        return "unknown ", "yellow"
    return ("wait ", "yellow") if gate.waiting else ("shut ", "red")


def _print_names(printer: Printer, state: str, gates: Sequence[Gate]) -> None:
    """One line: each gate once, with its stages."""
    if not gates:
        return
    stages: dict[str, list[str]] = {}
    for gate in gates:
        stages.setdefault(gate.name, []).extend([gate.stage] if gate.stage else [])
    named = [f"{name} for {_listed(names)}" if names else name for name, names in stages.items()]
    printer.line()
    printer.line((f"{state} ", "yellow" if state == "wait" else "green"), ", ".join(named))
