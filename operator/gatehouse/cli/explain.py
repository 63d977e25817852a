"""``gatehouse explain``: every gate of a version, open or shut, and what to do next."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import orjson
import typer
from rich.console import Console
from rich.text import Text

from gatehouse.api.model_version import ModelVersion
from gatehouse.cli.connection import (
    NOT_READY,
    ContextOption,
    KubeconfigOption,
    cluster,
    default_namespace,
    run_command,
)
from gatehouse.domain.conditions import READY, RECONCILING, STALLED, find
from gatehouse.domain.lifecycle import READY_TO_DEPLOY

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

    Exit codes: 0 the version is Ready to Deploy, 1 it is not, 2 an error.

    Example: gatehouse explain granite-3.1-8b -n private-ai
    """
    version = run_command(lambda: _read(name, namespace, kubeconfig, context))
    facts = explanation(version)
    if output == "json":
        typer.echo(orjson.dumps(facts, option=orjson.OPT_INDENT_2).decode())
    else:
        print_explanation(Console(highlight=False, soft_wrap=True), version)
    if not facts["ready"]:
        raise typer.Exit(NOT_READY)


async def _read(name: str, namespace: str | None, kubeconfig: Path | None, context: str | None) -> ModelVersion:
    where = namespace or await default_namespace(kubeconfig, context)
    async with cluster(kubeconfig, context) as client:
        return ModelVersion.model_validate(await client.get(ModelVersion.info.plural, where, name))


def explanation(version: ModelVersion) -> dict[str, Any]:
    """What ``-o json`` prints: name, namespace, phase, ready, clearedFor, current, summary, gates, fit, digest."""
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
        "current": current,
        "summary": _summary(version, current=current),
        "abnormal": None if abnormal is None else {"type": abnormal.type, "message": abnormal.message},
        "gates": [gate.wire() for gate in status.gates],
        "warnings": list(status.hardware.warnings) if status.hardware else [],
        "digest": status.artifact.digest if status.artifact else None,
        "registryId": status.registry_id,
    }


def _summary(version: ModelVersion, *, current: bool) -> str:
    if not current:
        return (
            "the operator has not looked at this generation yet; is it running? (gatehouse local status, or its Pods)"
        )
    ready = find(version.status.conditions, READY)
    return ready.message if ready else ""


def print_explanation(console: Console, version: ModelVersion) -> None:
    """The same for people."""
    facts = explanation(version)
    console.print(f"{facts['namespace']}/{facts['name']}  {facts['phase'] or 'not looked at yet'}", style="bold")
    if facts["summary"]:
        console.print(f"  {facts['summary']}", markup=False)
    if facts["abnormal"] and facts["abnormal"]["message"] != facts["summary"]:
        console.print(f"  {facts['abnormal']['type']}: {facts['abnormal']['message']}", markup=False)
    for gate in version.status.gates:
        console.print()
        console.print(
            Text.assemble(("open " if gate.open else "shut ", "green" if gate.open else "red"), (gate.name, "bold"))
        )
        for label, value in (("rule", gate.rule), ("found", gate.found), ("wanted", gate.wanted), ("do", gate.remedy)):
            if value:
                console.print(f"     {label:7}{value}", markup=False)
    for warning in facts["warnings"]:
        console.print(f"\nwarning: {warning}", markup=False)
    if facts["ready"]:
        console.print(
            f"\nnext: gatehouse template {facts['name']} -n {facts['namespace']} | kubectl apply -f -", markup=False
        )
