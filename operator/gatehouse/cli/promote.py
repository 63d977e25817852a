"""``gatehouse promote``: the gates between a version and a stage, and the manifests of a cleared version."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from gatehouse.cli.connection import ContextOption, KubeconfigOption, cluster, default_namespace, run_command
from gatehouse.cli.exits import NOT_MET, fail
from gatehouse.cli.options import HomeOption, NameArgument, print_data, say
from gatehouse.cli.template_output import print_manifest, print_template
from gatehouse.printing import stdout

if TYPE_CHECKING:
    from gatehouse.actions.deployments import WrittenDeployment
    from gatehouse.actions.promotion import Promotion, PromotionRequest
    from gatehouse.cluster.client import ApiClient

__all__ = ["promote"]


def promote(
    name: NameArgument,
    stage: Annotated[str, typer.Option("--to", metavar="STAGE", help="Target stage, such as production.")],
    namespace: HomeOption = None,
    target: Annotated[
        str | None,
        typer.Option("--namespace", help="Namespace to serve from. Default: the only one with the label of the stage."),
    ] = None,
    service: Annotated[
        str | None, typer.Option("--name", help="Name of the InferenceService. Default: a name from the version.")
    ] = None,
    deployment: Annotated[
        str | None,
        typer.Option("--deployment", help="ModelDeployment that shall run the version: print or apply its versionRef."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the gates only.")] = False,
    apply: Annotated[bool, typer.Option("--apply", help="Apply the manifests instead of printing them.")] = False,
    output: Annotated[Literal["yaml", "json"], typer.Option("-o", "--output", help="Output format.")] = "yaml",
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = None,
) -> None:
    """Promote a version to a stage.

    The command prints or applies the serving template for the namespace of the stage. A shut gate stops the promotion,
    and the command prints what is still missing. With --dry-run it prints every gate on the way, open gates too; -o
    json prints the gates as data.

    With --deployment the command prints the change of that ModelDeployment, for Git. With --apply too it makes the
    change, as deploy-version does.

    Exit codes: 0 success: the version is cleared, 1 condition not met: a gate is shut, 2 error.

    Examples:

      gatehouse promote granite-3.1-8b -n private-ai --to production --dry-run

      gatehouse promote granite-3.1-8b -n private-ai --to production --namespace prod > deploy/granite.yaml

      gatehouse promote granite-3.1-8b -n private-ai --to staging --namespace staging --apply

      gatehouse promote granite-3.1-8b -n private-ai --to production --deployment chat > overlays/production/chat.yaml
    """
    from gatehouse.actions import promotion

    async def work() -> Promotion:
        request = promotion.PromotionRequest(
            namespace=namespace or await default_namespace(kubeconfig, context),
            name=name,
            stage=stage,
            target=target,
            service=service,
            dry_run=dry_run or deployment is not None,
            apply=apply and deployment is None,
        )
        async with cluster(kubeconfig, context) as client:
            answer = await promotion.promote(client, request)
            if deployment is not None and answer.cleared and not dry_run:
                changes.append(await _named(client, request, deployment, apply=apply))
            return answer

    changes: list[WrittenDeployment] = []
    answer = run_command(work)
    say(answer.notes)
    if dry_run:
        _show(answer, stage, output)
    if not answer.cleared:
        where = f"{answer.version.metadata.namespace}/{name}"
        fail(f"{where} is not cleared for {stage}: {answer.why_not}", code=NOT_MET)
    for change in changes:
        _say_change(change, apply=apply, output=output)
    if answer.applied:
        for body in answer.applied:
            stdout().line(f"{str(body['kind']).lower()}.serving.kserve.io/{body['metadata']['name']} applied")
    elif answer.template is not None:
        print_template(answer.template, output)


async def _named(client: ApiClient, request: PromotionRequest, deployment: str, *, apply: bool) -> WrittenDeployment:
    """The change of a deployment: made, or only tried on the API server."""
    from gatehouse.actions.deployments import DeployRequest, deploy

    return await deploy(
        client,
        DeployRequest(
            namespace=request.namespace,
            name=request.name,
            stage=request.stage,
            target=request.target,
            deployment=deployment,
            at=datetime.now(UTC),
            force=not apply,
            dry_run=not apply,
        ),
    )


def _say_change(change: WrittenDeployment, *, apply: bool, output: Literal["yaml", "json"]) -> None:
    from gatehouse.actions.deployments import declared_version
    from gatehouse.actions.objects import parsed
    from gatehouse.api.model_deployment import ModelDeployment

    say(change.notes)
    if change.body is None:
        fail(change.why_not, code=NOT_MET)
    deployment = parsed(ModelDeployment, change.body)
    if apply:
        stdout().line(f"modeldeployment.gatehouse.dev/{deployment.metadata.name} {change.outcome}")
    else:
        print_manifest(declared_version(deployment, deployment.spec.version_ref.name), output)


def _show(answer: Promotion, stage: str, output: Literal["yaml", "json"]) -> None:
    if output == "json":
        print_data(answer.wire(stage))
        return
    printer = stdout()
    for gate in answer.gates:
        before = f" for {gate.stage}" if gate.stage else ""
        state = ("open ", "green") if gate.open else ("shut ", "red") if gate.shut else ("unknown ", "yellow")
        printer.line(state, (f"{gate.name}{before}", "bold"), f"  {gate.found}")
        if gate.shut and gate.remedy:
            printer.line(f"     do     {gate.remedy}")
