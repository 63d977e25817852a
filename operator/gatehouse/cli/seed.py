"""``gatehouse seed``: the shipped profiles and the first model, registered."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from gatehouse.cli.connection import ContextOption, KubeconfigOption, cluster, run_command
from gatehouse.cli.exits import exits
from gatehouse.cli.options import TimeoutOption, WrittenOutputOption
from gatehouse.cli.signals import until_told_to_stop
from gatehouse.errors import ConditionNotMet
from gatehouse.printing import stderr, stdout

if TYPE_CHECKING:
    from gatehouse.actions.manifests import Declared
    from gatehouse.actions.readiness import Goal
    from gatehouse.actions.seed import Seeding
    from gatehouse.printing.progress import ProgressReporter

__all__ = ["seed"]

COMPLETE: Final = "Model Registration Complete"


def seed(
    manifests: Annotated[
        Path | None,
        typer.Option(
            "--manifests",
            help="Folder with manifests of models and versions. Default: the shipped folder.",
            file_okay=False,
        ),
    ] = None,
    profiles: Annotated[bool, typer.Option(help="Apply the shipped hardware profiles first.")] = True,
    namespace: Annotated[
        str | None,
        typer.Option("-n", "--namespace", help="Namespace of the models. Default: the namespace in the manifests."),
    ] = None,
    registry: Annotated[
        str | None,
        typer.Option("--registry", metavar="NAMESPACE/NAME", help="ModelRegistry. Default: the default registry."),
    ] = None,
    submitted_by: Annotated[
        str | None,
        typer.Option(
            "--submitted-by",
            metavar="USER",
            help="Author of the versions, who cannot approve them. Default: no author.",
        ),
    ] = None,
    timeout: TimeoutOption = 300.0,
    require_ready: Annotated[
        bool, typer.Option("--require-ready", help="Wait until every version is Ready to Deploy.")
    ] = False,
    output: WrittenOutputOption = "text",
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = None,
) -> None:
    """Register the shipped profiles and the first model.

    The command applies the manifests and waits until the models and versions are registered. You can run it at any
    time: it keeps existing objects, and objects that a person changed. It waits for missing parts: the kinds, the
    namespace, the operator, the database of the registry, and up to a minute for the store. The files of a version may
    be uploaded later; the output says how.

    Exit codes: 0 success, 1 condition not met: a version was not registered or not ready in time, 2 error.

    Examples:

      gatehouse seed

      gatehouse seed --namespace team-a --registry models/team-registry --require-ready --timeout 10m
    """
    from gatehouse.actions import seed as seeding
    from gatehouse.actions.polling import Patience
    from gatehouse.printing.progress import ConsoleProgress
    from gatehouse.runtime.clock import LoopClock

    goal: Goal = "ready" if require_ready else "registered"
    stopped = ConditionNotMet(
        "stopped by SIGTERM before the models were registered; applied objects stay, run the command again"
    )

    async def work(objects: tuple[Declared, ...], progress: ProgressReporter) -> Seeding:
        async with cluster(kubeconfig, context) as client:
            patience = Patience(seconds=timeout, clock=LoopClock(), say=progress.say)
            return await seeding.seed(client, objects, goal=goal, patience=patience, submitted_by=submitted_by)

    with exits():
        declared = _objects(manifests, profiles=profiles, namespace=namespace, registry=registry)
    with ConsoleProgress() as progress, progress.step("registering"):
        done = run_command(lambda: until_told_to_stop(work(declared, progress), stopped=stopped))
    if output == "json":
        stdout().data(done.wire())
        stderr().line(COMPLETE)
    else:
        _print(done)


def _objects(
    manifests: Path | None, *, profiles: bool, namespace: str | None, registry: str | None
) -> tuple[Declared, ...]:
    from gatehouse.actions.manifests import in_namespace, in_registry, load_folder, registry_reference
    from gatehouse.install.shipped_files import shipped

    objects = load_folder(manifests or shipped("manifests/seed"))
    if namespace is not None:
        objects = in_namespace(objects, namespace)
    if registry is not None:
        objects = in_registry(objects, registry_reference(registry, flag="--registry"))
    return (*(load_folder(shipped("manifests/hardware")) if profiles else ()), *objects)


def _print(done: Seeding) -> None:
    printer = stdout()
    rows = [("MODEL", "VERSION", "STATUS", "HARDWARE", "RUNTIME", "ID")]
    rows += [(v.model, v.version, v.phase, v.hardware, v.runtime, v.registry_id) for v in done.versions]
    printer.columns(rows)
    notes = [f"{kept.declared} stays unchanged: {kept.kept}" for kept in done.kept]
    notes += [f"{v.namespace}/{v.name} is {v.phase}: {v.advice}" for v in done.versions if not v.ready]
    for line in ("", *notes, *([""] if notes else []), COMPLETE):
        printer.line(line)
