"""``gatehouse explain``: every gate of a version, open or shut, what to do next, and what of it the reader can do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from gatehouse.actions.next_steps import Advice, ask_advice
from gatehouse.actions.objects import read
from gatehouse.api.model_version import Gate, ModelVersion
from gatehouse.cli.connection import NOT_READY, ContextOption, KubeconfigOption, cluster, default_namespace
from gatehouse.cli.options import reviewing
from gatehouse.domain.common.conditions import READY, RECONCILING, STALLED, find
from gatehouse.domain.version.external_states import project
from gatehouse.domain.version.lifecycle import READY_TO_DEPLOY
from gatehouse.printing import Printer, stdout

__all__ = ["explain", "explanation", "print_explanation"]


def explain(
    name: Annotated[str, typer.Argument(help="Name of the ModelVersion.", metavar="NAME")],
    namespace: Annotated[
        str | None,
        typer.Option("-n", "--namespace", help="Namespace of the ModelVersion; the context's namespace when absent."),
    ] = None,
    output: Annotated[Literal["text", "json"], typer.Option("-o", "--output", help="text or json.")] = "text",
    every: Annotated[bool, typer.Option("--all", help="Every gate in full, by stage.")] = False,
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = None,
) -> None:
    """Print what keeps a version from being deployed: each shut gate, its rule, what was found, and what to do.

    Gates that only wait for another are in one line, and so are those that are open; --all prints each in full, those
    before every stage first, then those of each stage. Beside each shut gate stands what you could do about it, from
    your own rights.

    Exit codes: 0 the version is Ready to Deploy, 1 it is not, 2 an error.

    Examples:

      gatehouse explain granite-3.1-8b -n private-ai

      gatehouse explain granite-3.1-8b -n private-ai --all
    """
    version, advice = reviewing(lambda: _read(name, namespace, kubeconfig, context))
    facts = explanation(version, advice)
    if output == "json":
        stdout().data(facts)
    else:
        print_explanation(stdout(), version, advice, every=every)
    if not facts["ready"]:
        raise typer.Exit(NOT_READY)


async def _read(
    name: str, namespace: str | None, kubeconfig: Path | None, context: str | None
) -> tuple[ModelVersion, Advice]:
    where = namespace or await default_namespace(kubeconfig, context)
    async with cluster(kubeconfig, context) as client:
        version = await read(client, ModelVersion, where, name)
        return version, await ask_advice(client, version)


def explanation(version: ModelVersion, advice: Advice | None = None) -> dict[str, Any]:
    """What ``-o json`` prints.

    ``gates`` are the status's; ``advice`` is what the reader could do about each shut one; ``projections`` are the
    words that other registries have for the state.
    """
    status = version.status
    ready = find(status.conditions, READY)
    current = status.observed_generation == version.metadata.generation
    is_ready = current and status.phase == READY_TO_DEPLOY and ready is not None and ready.status == "True"
    abnormal = find(status.conditions, STALLED) or find(status.conditions, RECONCILING)
    return {
        "name": version.metadata.name,
        "namespace": version.metadata.namespace,
        "phase": status.phase,
        "ready": is_ready,
        "clearedFor": list(status.cleared_for),
        "deployedTo": list(status.deployed_to),
        "projections": project(status, stages=_stages(version)).wire(),
        "current": current,
        "summary": _summary(version, current=current),
        "abnormal": None if abnormal is None else {"type": abnormal.type, "message": abnormal.message},
        "gates": [gate.wire() for gate in status.gates],
        "advice": [
            {"gate": gate, "stage": stage, "you": sentence} for (gate, stage), sentence in (advice or {}).items()
        ],
        "warnings": list(status.hardware.warnings) if status.hardware else [],
        "notes": list(status.artifact.notes) if status.artifact else [],
        "digest": status.artifact.digest if status.artifact else None,
        "contentSource": status.artifact.content_source if status.artifact else None,
        "registryId": status.registry_id,
    }


def _summary(version: ModelVersion, *, current: bool) -> str:
    if not current:
        return (
            "the operator has not reconciled this generation yet; is it running? (gatehouse local status, or its Pods)"
        )
    ready = find(version.status.conditions, READY)
    return ready.message if ready else ""


def _stages(version: ModelVersion) -> Sequence[str]:
    return tuple(dict.fromkeys(gate.stage for gate in version.status.gates if gate.stage))


def print_explanation(
    printer: Printer, version: ModelVersion, advice: Advice | None = None, *, every: bool = False
) -> None:
    """The same for people: what is shut and why, and the others in a line each; ``every`` gate in full."""
    facts, gates = explanation(version), version.status.gates
    causes = [gate for gate in gates if gate.shut and not gate.waiting]
    printer.line(_headline(version, facts, causes), style="bold")
    # What a gate says stands below; an outage or the end of the grace is said by no gate.
    if facts["summary"] and not facts["ready"] and not any(facts["summary"].startswith(gate.found) for gate in causes):
        printer.line(f"  {facts['summary']}")
    if facts["abnormal"] and facts["abnormal"]["message"] != _ready_message(version):
        printer.line(f"  {facts['abnormal']['type']}: {facts['abnormal']['message']}")
    said = advice or {}
    if every:
        _print_by_stage(printer, version, said)
    else:
        for gate in causes:
            _print_gate(printer, gate, said.get((gate.name, gate.stage)), stage=gate.stage)
        _print_names(printer, "wait", [gate for gate in gates if gate.shut and gate.waiting])
        for gate in (each for each in gates if each.unknown):
            _print_gate(printer, gate, said.get((gate.name, gate.stage)), stage=gate.stage)
        _print_names(printer, "open", [gate for gate in gates if gate.open])
    for warning in facts["warnings"]:
        printer.line()
        printer.line(f"warning: {warning}")
    for note in facts["notes"]:
        printer.line()
        printer.line(f"note: {note}")
    if facts["ready"]:
        printer.line()
        printer.line(f"next: gatehouse template {facts['name']} -n {facts['namespace']} | kubectl apply -f -")


def _headline(version: ModelVersion, facts: Mapping[str, Any], causes: Sequence[Gate]) -> str:
    """How the version stands, in one sentence."""
    status, where = version.status, f"{facts['namespace']}/{facts['name']}"
    if not status.phase:
        return f"{where} was not reconciled yet."
    if not facts["current"]:
        return f"{where} was {status.phase} before it was changed."
    shut = _listed([_named(gate) for gate in causes])
    why = f"{shut} {'is' if len(causes) == 1 else 'are'} shut" if causes else ""
    if facts["ready"]:
        uncleared = [stage for stage in _stages(version) if stage not in status.cleared_for]
        to = f"{where} is {status.phase} to {_listed(status.cleared_for)}"
        return f"{to}, not to {_listed(uncleared)}{f': {why}' if why else ''}." if uncleared else f"{to}."
    return f"{where} is not ready to deploy: {status.phase}{f', as {why}' if why else ''}."


def _named(gate: Gate) -> str:
    return f"{gate.name} for {gate.stage}" if gate.stage else gate.name


def _listed(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else "".join(names)


def _ready_message(version: ModelVersion) -> str | None:
    ready = find(version.status.conditions, READY)
    return ready.message if ready else None


def _print_by_stage(printer: Printer, version: ModelVersion, advice: Advice) -> None:
    for stage, gates in _by_stage(version.status.gates).items():
        if stage:
            cleared = "cleared" if stage in version.status.cleared_for else "not cleared"
            printer.line()
            printer.line(f"stage {stage}  {cleared}", style="bold")
        for gate in gates:
            _print_gate(printer, gate, advice.get((gate.name, gate.stage)))


def _by_stage(gates: Sequence[Gate]) -> Mapping[str, Sequence[Gate]]:
    """Gates before every stage first, under an empty name; then the stages in the order of the status."""
    order = list(dict.fromkeys(["", *(gate.stage for gate in gates)]))
    sorted_gates = sorted(gates, key=lambda gate: order.index(gate.stage))
    return {stage: list(each) for stage, each in groupby(sorted_gates, key=lambda gate: gate.stage)}


def _print_gate(printer: Printer, gate: Gate, you: str | None, *, stage: str = "") -> None:
    printer.line()
    printer.line(_state(gate), (gate.name, "bold"), f" for {stage}" if stage else "")
    lines = (("rule", gate.rule), ("found", gate.found), ("wanted", gate.wanted), ("do", gate.remedy), ("you", you))
    for label, value in lines:
        if value:
            printer.line(f"     {label:7}{value}")


def _state(gate: Gate) -> tuple[str, str]:
    if gate.open:
        return "open ", "green"
    if gate.unknown:
        return "unknown ", "yellow"
    return ("wait ", "yellow") if gate.waiting else ("shut ", "red")


def _print_names(printer: Printer, state: str, gates: Sequence[Gate]) -> None:
    """One line: each gate once, with the stages that it stands before."""
    if not gates:
        return
    stages: dict[str, list[str]] = {}
    for gate in gates:
        stages.setdefault(gate.name, []).extend([gate.stage] if gate.stage else [])
    named = [f"{name} for {_listed(each)}" if each else name for name, each in stages.items()]
    printer.line()
    printer.line((f"{state} ", "yellow" if state == "wait" else "green"), ", ".join(named))
