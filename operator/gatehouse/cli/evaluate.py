"""``gatehouse evaluate``: results of evaluation suites as ModelEvaluations."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

import typer

from gatehouse.cli.connection import ContextOption, KubeconfigOption, cluster, default_namespace, run_command
from gatehouse.cli.exits import fail
from gatehouse.cli.options import DryRunOption, EvaluationKindChoice, NamespaceOption, ReasonOption, print_data, say
from gatehouse.printing import stdout

if TYPE_CHECKING:
    from gatehouse.actions.evaluations import Imported
    from gatehouse.api.model_evaluation import ModelEvaluation
    from gatehouse.domain.governance.lm_eval import HarnessRun

__all__ = ["app"]

_KIND: Final = "modelevaluation.gatehouse.dev"

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    help="Import or withdraw the results of evaluations.\n\n"
    "Exit codes: 0 success, 1 condition not met: the evaluation does not exist, 2 error.",
)


@app.callback()
def _root() -> None:
    """Import or withdraw the results of evaluations."""


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(metavar="RESULTS", help="File results_<time>.json of lm-evaluation-harness.")],
    version: Annotated[str, typer.Option("--version", metavar="VERSION", help="Name of the ModelVersion.")],
    namespace: NamespaceOption = None,
    kind: Annotated[EvaluationKindChoice, typer.Option("--kind", help="Subject of the evaluation.")] = "Task",
    task: Annotated[
        list[str] | None, typer.Option("--task", help="Import only this task or group of the file; repeatable.")
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option(
            "--dataset", metavar="NAME[@VERSION]", help="Data set. Default: the data set that the file names."
        ),
    ] = None,
    evaluated_at: Annotated[
        str | None,
        typer.Option("--evaluated-at", metavar="TIME", help="Time of the run, for a file that does not name it."),
    ] = None,
    report_url: Annotated[str | None, typer.Option("--report-url", help="Link to the report.")] = None,
    apply: Annotated[bool, typer.Option("--apply", help="Create the objects instead of printing them.")] = False,
    output: Annotated[Literal["yaml", "json"], typer.Option("-o", "--output", help="Output format.")] = "yaml",
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = None,
) -> None:
    """Import the results of lm-evaluation-harness as ModelEvaluations.

    The command makes one ModelEvaluation for each task, with you as the evaluator and with the current digest of the
    version. Import only results that were measured with the current files. A second import of a file creates nothing.

    Exit codes: 0 success, 2 error.

    Examples:

      gatehouse evaluate import results_2026-11-21T12-00-00.json --version granite-3.1-8b -n private-ai --apply

      gatehouse evaluate import results.json --version granite-3.1-8b --kind Safety --task toxigen > evaluation.yaml
    """
    from gatehouse.actions.evaluations import ImportRequest, import_results, run_notes
    from gatehouse.actions.identity import SelfAuthorizer
    from gatehouse.domain.serving.template import to_yaml

    moment = _moment(evaluated_at)
    run = _parsed(file)
    say(run_notes(run))
    dataset_name, _, dataset_version = (dataset or "").partition("@")

    async def work() -> Imported:
        request = ImportRequest(
            namespace=namespace or await default_namespace(kubeconfig, context),
            name=version,
            kind=kind,
            tasks=task or (),
            dataset=dataset_name or None,
            dataset_version=dataset_version or None,
            evaluated_at=moment,
            report_url=report_url,
            apply=apply,
        )
        async with cluster(kubeconfig, context) as client:
            return await import_results(client, SelfAuthorizer(client), run, request, now=datetime.now(UTC))

    imported = run_command(work)
    if apply:
        for name, outcome in imported.outcomes:
            stdout().line(f"{_KIND}/{name} {outcome}")
    elif output == "json":
        print_data({"apiVersion": "v1", "kind": "List", "items": imported.manifests})
    else:
        stdout().documents(to_yaml(manifest) for manifest in imported.manifests)


@app.command()
def withdraw(
    name: Annotated[str, typer.Argument(metavar="EVALUATION", help="Name of the ModelEvaluation.")],
    reason: ReasonOption,
    namespace: NamespaceOption = None,
    dry_run: DryRunOption = "none",
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = None,
) -> None:
    """Withdraw a ModelEvaluation.

    Its results no longer count. The audit trail keeps the results, who withdrew them, and why. You need the rights to
    patch and delete modelevaluations, which the ClusterRole gatehouse-admin grants.

    Exit codes: 0 success, 1 condition not met: the evaluation does not exist, 2 error.

    Example: gatehouse evaluate withdraw granite-3.1-8b-gsm8k-1f2e3d4c5b -n private-ai --reason "ran on the wrong split"
    """
    from gatehouse.actions.identity import SelfAuthorizer
    from gatehouse.actions.revocations import EvaluationWithdrawal, withdraw_evaluation

    async def work() -> ModelEvaluation:
        home = namespace or await default_namespace(kubeconfig, context)
        request = EvaluationWithdrawal(namespace=home, name=name, reason=reason, dry_run=dry_run == "server")
        async with cluster(kubeconfig, context) as client:
            return await withdraw_evaluation(client, SelfAuthorizer(client), request)

    withdrawn = run_command(work)
    dry = " (server dry run)" if dry_run == "server" else ""
    stdout().line(f"{_KIND}/{withdrawn.metadata.name} deleted{dry}: it no longer counts")


def _parsed(file: Path) -> HarnessRun:
    from gatehouse.domain.common.format_error import FormatError
    from gatehouse.domain.governance.lm_eval import MAX_RESULTS, parse_results

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
        raise typer.BadParameter(f"--evaluated-at is {text!r}; expected: a time such as 2026-11-21T12:00:00Z") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
