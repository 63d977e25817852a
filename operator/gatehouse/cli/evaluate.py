"""``gatehouse evaluate``: results of evaluation suites as ModelEvaluations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

import typer

from gatehouse.actions.evaluations import Import, apply_evaluations, counted_groups, evaluations, run_notes
from gatehouse.actions.identity import whoami
from gatehouse.actions.objects import listed_if_allowed, read
from gatehouse.actions.revocations import EvaluationWithdrawal, withdraw_evaluation
from gatehouse.api.governance_policy import GovernancePolicy
from gatehouse.api.meta import GROUP
from gatehouse.api.model_evaluation import EvaluationKind, ModelEvaluation
from gatehouse.api.model_version import ModelVersion
from gatehouse.cli.connection import ContextOption, KubeconfigOption, cluster, default_namespace, fail
from gatehouse.cli.options import DryRunOption, NamespaceOption, ReasonOption, print_data, reviewing, say
from gatehouse.domain.common.format_error import FormatError
from gatehouse.domain.governance.lm_eval import MAX_RESULTS, HarnessRun, parse_results
from gatehouse.domain.serving.template import JsonObject, to_yaml
from gatehouse.printing import stdout

__all__ = ["app"]

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    help="What evaluations measured of a version.\n\nExit codes: 0 done, 1 it is not there, 2 refused, or an error.",
)


@app.callback()
def _root() -> None:
    """Record what evaluations measured of a version."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Call:
    version: str
    namespace: str | None
    kind: EvaluationKind
    tasks: Sequence[str]
    dataset: str | None
    evaluated_at: datetime | None
    report_url: str | None
    apply: bool


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(metavar="RESULTS", help="results_<time>.json of lm-evaluation-harness.")],
    version: Annotated[str, typer.Option("--version", metavar="VERSION", help="Name of the ModelVersion.")],
    namespace: NamespaceOption = None,
    kind: Annotated[EvaluationKind, typer.Option("--kind", help="What the evaluation is about.")] = "Task",
    task: Annotated[
        list[str] | None, typer.Option("--task", help="Only this task or group of the file; may be repeated.")
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option("--dataset", metavar="NAME[@VERSION]", help="Data set, instead of the one in the file."),
    ] = None,
    evaluated_at: Annotated[
        str | None, typer.Option("--evaluated-at", metavar="TIME", help="When it was run, if the file does not tell.")
    ] = None,
    report_url: Annotated[str | None, typer.Option("--report-url", help="Link to the report.")] = None,
    apply: Annotated[bool, typer.Option("--apply", help="Create them instead of printing them.")] = False,
    output: Annotated[Literal["yaml", "json"], typer.Option("-o", "--output", help="yaml or json.")] = "yaml",
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = None,
) -> None:
    """Make one ModelEvaluation of each task in a result file of lm-evaluation-harness, for the bytes as they are now.

    You are the evaluator. The digest is the version's: import the results of the files that are there. Importing a file
    again makes nothing new.

    Exit codes: 0 done, 2 refused, or an error.

    Examples:

      gatehouse evaluate import results_2026-11-21T12-00-00.json --version granite-3.1-8b -n private-ai --apply

      gatehouse evaluate import results.json --version granite-3.1-8b --kind Safety --task toxigen > evaluation.yaml
    """
    call = _Call(
        version=version,
        namespace=namespace,
        kind=kind,
        tasks=task or (),
        dataset=dataset,
        evaluated_at=_moment(evaluated_at),
        report_url=report_url,
        apply=apply,
    )
    run = _parsed(file)
    say(run_notes(run))
    manifests, done = reviewing(lambda: _import(run, call, kubeconfig, context))
    if apply:
        for name, outcome in done:
            stdout().line(f"modelevaluation.{GROUP}/{name} {outcome}")
    elif output == "json":
        print_data({"apiVersion": "v1", "kind": "List", "items": manifests})
    else:
        stdout().documents(to_yaml(each) for each in manifests)


@app.command()
def withdraw(
    name: Annotated[str, typer.Argument(metavar="EVALUATION", help="Name of the ModelEvaluation.")],
    reason: ReasonOption,
    namespace: NamespaceOption = None,
    dry_run: DryRunOption = "none",
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = None,
) -> None:
    """Take a ModelEvaluation back: what it measured does not count any more. That you did, and why, stays on record.

    It takes the rights to patch and delete modelevaluations, which the ClusterRole gatehouse-admin has.

    Exit codes: 0 done, 1 it is not there, 2 refused, or an error.

    Example: gatehouse evaluate withdraw granite-3.1-8b-gsm8k-1f2e3d4c5b -n private-ai --reason "ran on the wrong split"
    """

    async def work() -> ModelEvaluation:
        where = namespace or await default_namespace(kubeconfig, context)
        wanted = EvaluationWithdrawal(namespace=where, name=name, reason=reason, dry_run=dry_run == "server")
        async with cluster(kubeconfig, context) as client:
            return await withdraw_evaluation(client, wanted)

    gone = reviewing(work)
    dry = " (server dry run)" if dry_run == "server" else ""
    stdout().line(f"modelevaluation.{GROUP}/{gone.metadata.name} deleted{dry}: it counts no more")


def _parsed(file: Path) -> HarnessRun:
    try:
        with file.open("rb") as opened:
            return parse_results(opened.read(MAX_RESULTS + 1), what=str(file))
    except OSError as error:
        fail(f"{file} cannot be read: {error.strerror}")
    except FormatError as error:
        fail(str(error))


def _moment(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"--evaluated-at is {text!r}; wanted: a time as in 2026-11-21T12:00:00Z") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


async def _import(
    run: HarnessRun, call: _Call, kubeconfig: Path | None, context: str | None
) -> tuple[Sequence[JsonObject], Sequence[tuple[str, str]]]:
    where = call.namespace or await default_namespace(kubeconfig, context)
    name, _, version = (call.dataset or "").partition("@")
    async with cluster(kubeconfig, context) as client:
        person, policies = await whoami(client), await listed_if_allowed(client, GovernancePolicy)
        wanted = Import(
            version=await read(client, ModelVersion, where, call.version),
            person=person,
            groups=counted_groups(person, policies),
            now=datetime.now(UTC),
            kind=call.kind,
            tasks=call.tasks,
            dataset=name or None,
            dataset_version=version or None,
            evaluated_at=call.evaluated_at,
            report_url=call.report_url,
        )
        manifests = evaluations(run, wanted)
        return manifests, await apply_evaluations(client, manifests) if call.apply else ()
