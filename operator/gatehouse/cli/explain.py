"""``gatehouse explain``: every gate of a version, open or shut, what to do next, and what of it the reader can do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any, Literal

import orjson
import typer
from rich.console import Console
from rich.text import Text

from gatehouse.api.model_version import Gate, ModelVersion
from gatehouse.cli.connection import NOT_READY, ContextOption, KubeconfigOption, cluster, default_namespace
from gatehouse.cli.version_options import reviewing
from gatehouse.domain.conditions import READY, RECONCILING, STALLED, find
from gatehouse.domain.lifecycle import READY_TO_DEPLOY
from gatehouse.domain.projections import project
from gatehouse.review.advice import Advice, ask_advice
from gatehouse.review.reading import read

__all__ = ["explain", "explanation", "print_explanation"]


def explain(
    name: Annotated[str, typer.Argument(help="Name of the ModelVersion.", metavar="NAME")],
    namespace: Annotated[
        str | None,
        typer.Option("-n", "--namespace", help="Namespace of the ModelVersion; that of the context when absent."),
    ] = None,
    output: Annotated[Literal["text", "json"], typer.Option("-o", "--output", help="text or json.")] = "text",
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = None,
) -> None:
    """Print every gate in front of a version: the rule, what was found, what is wanted, and what to do.

    Gates before every stage come first, then those of each stage. Beside each shut gate stands what you could do about
    it, from your own rights.

    Exit codes: 0 the version is Ready to Deploy, 1 it is not, 2 an error.

    Example: gatehouse explain granite-3.1-8b -n private-ai
    """
    version, advice = reviewing(lambda: _read(name, namespace, kubeconfig, context))
    facts = explanation(version, advice)
    if output == "json":
        typer.echo(orjson.dumps(facts, option=orjson.OPT_INDENT_2).decode())
    else:
        print_explanation(Console(highlight=False, soft_wrap=True), version, advice)
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
        "digest": status.artifact.digest if status.artifact else None,
        "contentSource": status.artifact.content_source if status.artifact else None,
        "registryId": status.registry_id,
    }


def _summary(version: ModelVersion, *, current: bool) -> str:
    if not current:
        return (
            "the operator has not looked at this generation yet; is it running? (gatehouse local status, or its Pods)"
        )
    ready = find(version.status.conditions, READY)
    return ready.message if ready else ""


def _stages(version: ModelVersion) -> Sequence[str]:
    return tuple(dict.fromkeys(gate.stage for gate in version.status.gates if gate.stage))


def print_explanation(console: Console, version: ModelVersion, advice: Advice | None = None) -> None:
    """The same for people."""
    facts = explanation(version)
    console.print(f"{facts['namespace']}/{facts['name']}  {facts['phase'] or 'not looked at yet'}", style="bold")
    if facts["summary"]:
        console.print(f"  {facts['summary']}", markup=False)
    if facts["abnormal"] and facts["abnormal"]["message"] != facts["summary"]:
        console.print(f"  {facts['abnormal']['type']}: {facts['abnormal']['message']}", markup=False)
    for stage, gates in _by_stage(version.status.gates).items():
        if stage:
            cleared = "cleared" if stage in version.status.cleared_for else "not cleared"
            console.print(f"\nstage {stage}  {cleared}", style="bold")
        for gate in gates:
            _print_gate(console, gate, (advice or {}).get((gate.name, gate.stage)))
    for warning in facts["warnings"]:
        console.print(f"\nwarning: {warning}", markup=False)
    if facts["ready"]:
        console.print(
            f"\nnext: gatehouse template {facts['name']} -n {facts['namespace']} | kubectl apply -f -", markup=False
        )


def _by_stage(gates: Sequence[Gate]) -> Mapping[str, Sequence[Gate]]:
    """Gates before every stage first, under an empty name; then the stages in the order of the status."""
    order = list(dict.fromkeys(["", *(gate.stage for gate in gates)]))
    sorted_gates = sorted(gates, key=lambda gate: order.index(gate.stage))
    return {stage: list(each) for stage, each in groupby(sorted_gates, key=lambda gate: gate.stage)}


def _print_gate(console: Console, gate: Gate, you: str | None) -> None:
    console.print()
    console.print(
        Text.assemble(("open " if gate.open else "shut ", "green" if gate.open else "red"), (gate.name, "bold"))
    )
    lines = (("rule", gate.rule), ("found", gate.found), ("wanted", gate.wanted), ("do", gate.remedy), ("you", you))
    for label, value in lines:
        if value:
            console.print(f"     {label:7}{value}", markup=False)
