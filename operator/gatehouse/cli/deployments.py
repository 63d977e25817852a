"""What runs in the namespaces of the stages: ``deploy-version``, ``rollback``, ``resume`` and ``deployments``."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from gatehouse.cli.connection import ContextOption, KubeconfigOption, cluster, default_namespace, run_command
from gatehouse.cli.exits import ERROR, fail
from gatehouse.cli.options import (
    DryRunOption,
    HomeOption,
    NameArgument,
    ReasonOption,
    StrategyChoice,
    TimeoutOption,
    WrittenOutputOption,
    print_data,
    print_table,
    say,
    without_managers,
)
from gatehouse.printing import stderr, stdout

if TYPE_CHECKING:
    from gatehouse.actions.deployments import DeploymentOutcome, OutcomeKind, WrittenDeployment
    from gatehouse.actions.polling import Patience
    from gatehouse.api.model_deployment import ModelDeployment
    from gatehouse.cluster.client import ApiClient

__all__ = ["deploy_version", "deployments", "resume", "rollback"]

ROLLED_BACK: Final = 3
"""Another revision runs: the version did not become available."""
TIMED_OUT: Final = 4
"""What becomes of the version is open when the time is over."""

_CODES: Final[Mapping[OutcomeKind, int]] = MappingProxyType(
    {"Healthy": 0, "Refused": ERROR, "RolledBack": ROLLED_BACK, "TimedOut": TIMED_OUT}
)
_HEADER: Final = ("NAMESPACE", "NAME", "MODEL", "VERSION", "RUNNING", "PHASE", "NEXT", "STAGE", "REVISION", "REASON")
WATCH_EVERY: Final = 2.0
"""Seconds between two looks of ``deployments --watch``."""
_NAME: Final = "modeldeployment.gatehouse.dev"

DeploymentNamespaceOption = Annotated[
    str | None,
    typer.Option(
        "-n", "--namespace", help="Namespace of the ModelDeployment. Default: the namespace of the current context."
    ),
]
WaitOption = Annotated[bool, typer.Option("--wait", help="Wait until the outcome is known.")]


def deploy_version(
    name: NameArgument,
    stage: Annotated[str, typer.Option("--stage", help="Stage to deploy to, such as production.")],
    namespace: HomeOption = None,
    target: Annotated[
        str | None,
        typer.Option("--namespace", help="Namespace to deploy to. Default: the only one with the label of the stage."),
    ] = None,
    deployment: Annotated[
        str | None, typer.Option("--name", help="Name of the ModelDeployment. Default: the name of the model.")
    ] = None,
    served_name: Annotated[
        str | None,
        typer.Option("--served-name", help="Name that clients use, for a new one. Default: the name of the model."),
    ] = None,
    replicas: Annotated[int | None, typer.Option("--replicas", min=1, max=64, help="Number of Pods.")] = None,
    strategy: Annotated[
        StrategyChoice | None,
        typer.Option("--strategy", help="How the next revision replaces the running one. Canary: 10, 50, then 100 %."),
    ] = None,
    hostname: Annotated[
        str | None, typer.Option("--hostname", help="Host of the route. BlueGreen and Canary need one.")
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Change the version even if a tool such as Argo CD declares it.")
    ] = False,
    wait: WaitOption = False,
    timeout: TimeoutOption = 300.0,
    dry_run: DryRunOption = "none",
    output: WrittenOutputOption = "text",
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = None,
) -> None:
    """Deploy a version to a stage.

    The command creates a ModelDeployment, or changes the version of an existing one. The operator makes the service,
    and rolls back if the version does not become available.

    Exit codes: 0 success: with --wait, the version is healthy, 2 error: a gate is shut or the request is refused, 3
    rolled back, 4 timed out.

    Examples:

      gatehouse deploy-version granite-3.1-8b -n private-ai --stage production --wait --timeout 30m

      gatehouse deploy-version granite-3.1-8b -n private-ai --stage staging --namespace chatbots --name chat

      gatehouse deploy-version granite-3.1-8b --stage production --strategy Canary --hostname chat.apps.example
    """
    from gatehouse.actions.deployments import DeployRequest, await_deployment, deploy

    async def work() -> tuple[WrittenDeployment, DeploymentOutcome | None]:
        request = DeployRequest(
            namespace=namespace or await default_namespace(kubeconfig, context),
            name=name,
            stage=stage,
            target=target,
            deployment=deployment,
            served_name=served_name,
            replicas=replicas,
            strategy=strategy,
            hostname=hostname,
            at=datetime.now(UTC),
            force=force,
            dry_run=dry_run == "server",
        )
        async with cluster(kubeconfig, context) as client:
            done = await deploy(client, request)
            if done.body is None or not wait or request.dry_run:
                return done, None
            metadata = done.body["metadata"]
            return done, await await_deployment(
                client,
                namespace=metadata["namespace"],
                name=metadata["name"],
                version=name,
                generation=metadata["generation"],
                patience=_patience(timeout),
            )

    done, outcome = run_command(work)
    say(done.notes)
    if done.body is None:
        fail(f"{name} is not cleared for {stage}: {done.why_not}")
    if output == "json":
        print_data(without_managers(done.body))
    else:
        dry = " (server dry run)" if dry_run == "server" else ""
        stdout().line(f"{_NAME}/{done.body['metadata']['name']} {done.outcome}{dry}: {name}")
    if outcome is not None:
        _conclude(outcome)


def rollback(
    name: Annotated[str, typer.Argument(metavar="DEPLOYMENT", help="Name of the ModelDeployment.")],
    to: Annotated[str, typer.Option("--to", metavar="REVISION", help="Revision of the history, or its version.")],
    reason: ReasonOption,
    namespace: DeploymentNamespaceOption = None,
    wait: WaitOption = False,
    timeout: TimeoutOption = 300.0,
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = None,
) -> None:
    """Roll a deployment back to an earlier revision.

    The gates of the revision are asked again. The spec stays as it is; the version that it names is not applied again
    until the spec names another version.

    Exit codes: 0 success: with --wait, the revision is available, 2 error: a gate is shut or the request is refused, 4
    timed out.

    Example: gatehouse rollback chat -n chatbots --to chat-78ce699283b74ccd --reason "answers in French" --wait
    """
    from gatehouse.actions.deployments import RollbackOrder, await_rollback, request_of
    from gatehouse.actions.deployments import rollback as ask

    async def work() -> tuple[str, DeploymentOutcome | None]:
        order = RollbackOrder(
            namespace=namespace or await default_namespace(kubeconfig, context),
            name=name,
            to=to,
            reason=reason,
            at=datetime.now(UTC),
        )
        async with cluster(kubeconfig, context) as client:
            asked = await ask(client, order)
            chosen = request_of(asked).to
            return chosen, await await_rollback(client, asked, patience=_patience(timeout)) if wait else None

    target, outcome = run_command(work)
    stdout().line(f"{_NAME}/{name} asked to roll back to {target}")
    if outcome is not None:
        _conclude(outcome)


def resume(
    name: Annotated[str, typer.Argument(metavar="DEPLOYMENT", help="Name of the ModelDeployment.")],
    namespace: DeploymentNamespaceOption = None,
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = None,
) -> None:
    """Let a rollout go on that waits at a step.

    The command ends the pause of the present step of the present revision, and of no other one.

    Exit codes: 0 success, 2 error: no rollout waits, or the request is refused.

    Example: gatehouse resume chat -n chatbots
    """
    from gatehouse.actions.deployments import resume as go_on

    async def work() -> ModelDeployment:
        home = namespace or await default_namespace(kubeconfig, context)
        async with cluster(kubeconfig, context) as client:
            return await go_on(client, namespace=home, name=name)

    canary = run_command(work).status.canary
    if canary is not None and canary.step is not None:
        stdout().line(f"{_NAME}/{name} resumed: revision {canary.revision} goes on after step {canary.step.index + 1}")


def deployments(
    namespace: DeploymentNamespaceOption = None,
    all_namespaces: Annotated[bool, typer.Option("-A", "--all-namespaces", help="List every namespace.")] = False,
    watch: Annotated[
        bool, typer.Option("-w", "--watch", help="Print each change, until the command is stopped.")
    ] = False,
    output: WrittenOutputOption = "text",
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = None,
) -> None:
    """List what is deployed.

    VERSION is the version that shall run, RUNNING the version that gets the requests, NEXT the version that a rollout
    brings in, with its share. -o json prints the deployments with their history; with --watch, one in each line.

    Exit codes: 0 success, even if nothing is deployed, 2 error.

    Example: gatehouse deployments -A
    """
    from gatehouse.actions.deployments import read_deployments

    async def ask() -> list[ModelDeployment]:
        home = "" if all_namespaces else namespace or await default_namespace(kubeconfig, context)
        async with cluster(kubeconfig, context) as client:
            if watch:
                await _follow(client, home, output=output, with_namespace=all_namespaces)
            return list(await read_deployments(client, namespace=home))

    found = run_command(ask)
    if output == "json":
        print_data([_wire(each) for each in found])
    elif found:
        rows = [_HEADER, *(_row(each) for each in found)]
        print_table(rows if all_namespaces else [row[1:] for row in rows])
    else:
        stderr().line("nothing is deployed")


async def _follow(client: ApiClient, namespace: str, *, output: str, with_namespace: bool) -> None:
    """Prints each deployment that changed, until the person stops the command."""
    import asyncio

    import orjson

    from gatehouse.actions.deployments import read_deployments

    shown: dict[tuple[str, str], object] = {}
    header = [_HEADER]
    while True:
        found = await read_deployments(client, namespace=namespace)
        known = {(each.metadata.namespace, each.metadata.name): each for each in found}
        rows = {name: _wire(each) if output == "json" else _row(each) for name, each in known.items()}
        changed = [name for name, row in rows.items() if shown.get(name) != row]
        if output == "json":
            for name in changed:
                stdout().line(orjson.dumps(rows[name]).decode())
        elif changed:
            table = [*header, *(_row(known[name]) for name in changed)]
            print_table(table if with_namespace else [row[1:] for row in table])
            header = []
        shown = dict(rows)
        await asyncio.sleep(WATCH_EVERY)


def _next(deployment: ModelDeployment) -> str:
    canary = deployment.status.canary
    return "-" if canary is None else f"{canary.version} {canary.weight}%"


def _row(deployment: ModelDeployment) -> tuple[str, ...]:
    metadata, spec, status = deployment.metadata, deployment.spec, deployment.status
    ready = next((each for each in status.conditions if each.type == "Ready"), None)
    return (
        metadata.namespace,
        metadata.name,
        spec.model_ref.name,
        spec.version_ref.name,
        status.stable.version if status.stable else "-",
        status.phase or "-",
        _next(deployment),
        status.stage or "-",
        status.stable.revision if status.stable else "-",
        ready.reason if ready else "-",
    )


def _wire(deployment: ModelDeployment) -> dict[str, Any]:
    metadata = deployment.metadata
    return {
        "namespace": metadata.namespace,
        "name": metadata.name,
        "spec": deployment.spec.wire(),
        "status": deployment.status.wire(),
    }


def _patience(seconds: float) -> Patience:
    from gatehouse.actions.polling import Patience
    from gatehouse.runtime.clock import LoopClock

    return Patience(seconds=seconds, clock=LoopClock(), say=lambda why: stderr().line(why))


def _conclude(outcome: DeploymentOutcome) -> None:
    """Ends the command with the code of the outcome."""
    code = _CODES[outcome.kind]
    if code:
        fail(f"{outcome.kind}: {outcome.message}", code=code)
    stdout().line(outcome.message)
