"""``gatehouse promote``: what stands between a version and a stage, and the manifests once nothing does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from gatehouse.actions.errors import Refused
from gatehouse.actions.objects import read, stages_of
from gatehouse.actions.promotion import apply_template, gates_before, owed_before, target_namespace
from gatehouse.api.model_version import Gate, ModelVersion
from gatehouse.cli.connection import (
    NOT_READY,
    ContextOption,
    KubeconfigOption,
    cluster,
    default_namespace,
    fail,
)
from gatehouse.cli.explain import explanation
from gatehouse.cli.options import NameArgument, print_data, reviewing, say
from gatehouse.cli.template import check_emitted, print_template
from gatehouse.cluster.client import ApiClient
from gatehouse.domain.runtimes.refusals import TemplateRefused
from gatehouse.domain.serving.template import ServingTemplate, read_template, retarget
from gatehouse.printing import stdout

__all__ = ["promote"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Call:
    name: str
    stage: str
    namespace: str | None
    target: str | None
    service: str | None
    dry_run: bool
    apply: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answer:
    """``template`` is None where it is not asked for, or not cleared; ``applied`` is the objects that were written."""

    version: ModelVersion
    gates: Sequence[Gate]
    cleared: bool
    notes: Sequence[str] = ()
    template: ServingTemplate | None = None
    applied: Sequence[Any] = ()


def promote(
    name: NameArgument,
    stage: Annotated[str, typer.Option("--to", metavar="STAGE", help="Stage to promote to, as in production.")],
    namespace: Annotated[
        str | None, typer.Option("-n", help="Namespace of the ModelVersion; the context's namespace when absent.")
    ] = None,
    target: Annotated[
        str | None,
        typer.Option("--namespace", help="Namespace to serve from; the only one labelled for the stage when absent."),
    ] = None,
    service: Annotated[
        str | None, typer.Option("--name", help="Name of the InferenceService; one of the version's when absent.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the gates only.")] = False,
    apply: Annotated[bool, typer.Option("--apply", help="Apply the manifests instead of printing them.")] = False,
    output: Annotated[Literal["yaml", "json"], typer.Option("-o", "--output", help="yaml or json.")] = "yaml",
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = None,
) -> None:
    """Promote a version to a stage: print, or apply, its serving template for the namespace of the stage.

    Nothing is promoted past a gate that is shut: it is shown with what is owed. With --dry-run every gate on the way is
    shown, also the open ones; -o json prints them as data.

    Exit codes: 0 cleared (and printed or applied), 1 a gate is shut, 2 refused, or an error.

    Examples:

      gatehouse promote granite-3.1-8b -n private-ai --to production --dry-run

      gatehouse promote granite-3.1-8b -n private-ai --to production --namespace prod > deploy/granite.yaml

      gatehouse promote granite-3.1-8b -n private-ai --to staging --namespace staging --apply
    """
    call = _Call(
        name=name,
        stage=stage,
        namespace=namespace,
        target=target,
        service=service,
        dry_run=dry_run,
        apply=apply,
    )
    answer = reviewing(lambda: _promote(call, kubeconfig, context))
    say(answer.notes)
    if dry_run:
        _show(answer, stage, output)
    if not answer.cleared:
        owed = "; ".join(owed_before(answer.gates)) or explanation(answer.version)["summary"]
        fail(f"{answer.version.metadata.namespace}/{name} is not cleared for {stage}: {owed}", code=NOT_READY)
    if answer.applied:
        for body in answer.applied:
            stdout().line(f"{str(body['kind']).lower()}.serving.kserve.io/{body['metadata']['name']} applied")
    elif answer.template is not None:
        print_template(answer.template, output)


async def _promote(call: _Call, kubeconfig: Path | None, context: str | None) -> _Answer:
    where = call.namespace or await default_namespace(kubeconfig, context)
    async with cluster(kubeconfig, context) as client:
        version = await read(client, ModelVersion, where, call.name)
        gates = gates_before(version, call.stage, await stages_of(client, version))
        # A status of another generation, or one whose grace is over, clears nothing.
        cleared = bool(explanation(version)["ready"]) and call.stage in version.status.cleared_for
        if call.dry_run or not cleared:
            return _Answer(version=version, gates=gates, cleared=cleared)
        target, note = await target_namespace(client, call.stage, call.target)
        template = await _template(client, version, call, target)
        applied = await apply_template(client, template) if call.apply else ()
        notes = [note] if note else []
        return _Answer(version=version, gates=gates, cleared=True, notes=notes, template=template, applied=applied)


async def _template(client: ApiClient, version: ModelVersion, call: _Call, target: str) -> ServingTemplate:
    emitted = version.status.template
    if emitted is None:
        raise Refused(f"the template of {call.name} is not there yet; try again in a moment")
    config_map = await client.get("configmaps", version.metadata.namespace, emitted.name)
    try:
        found = read_template(config_map)
        check_emitted(version, found)
        return retarget(found, name=call.service, namespace=target, stage=call.stage)
    except TemplateRefused as refused:
        problem = refused.finding
        raise Refused(f"{problem.found}; wanted: {problem.expected}; {problem.remedy}") from refused
    except ValueError as error:
        raise Refused(f"ConfigMap {emitted.name}: {error}") from error


def _show(answer: _Answer, stage: str, output: Literal["yaml", "json"]) -> None:
    if output == "json":
        gates = [gate.wire() for gate in answer.gates]
        print_data({"stage": stage, "cleared": answer.cleared, "gates": gates, "owed": owed_before(answer.gates)})
        return
    printer = stdout()
    for gate in answer.gates:
        before = f" for {gate.stage}" if gate.stage else ""
        state = ("open ", "green") if gate.open else ("shut ", "red") if gate.shut else ("unknown ", "yellow")
        printer.line(state, (f"{gate.name}{before}", "bold"), f"  {gate.found}")
        if gate.shut and gate.remedy:
            printer.line(f"     do     {gate.remedy}")
