"""``gatehouse seed``: the shipped profiles and the first model, registered."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer
from pydantic import ValidationError

from gatehouse.actions.identity import whoami
from gatehouse.actions.manifests import Declared, in_namespace, in_registry, load_folder, submitted
from gatehouse.actions.polling import Patience
from gatehouse.actions.readiness import Goal
from gatehouse.actions.seed import SeededVersion, Seeding
from gatehouse.actions.seed import seed as run_seed
from gatehouse.api.meta import ObjectReference
from gatehouse.cli.connection import NOT_READY, ContextOption, KubeconfigOption, cluster, fail, run_command
from gatehouse.cli.options import TimeoutOption
from gatehouse.cli.signals import Stopped, until_told_to_stop
from gatehouse.cluster.client import ApiClient, ApiUnavailable
from gatehouse.install.shipped_files import shipped
from gatehouse.printing import stderr, stdout
from gatehouse.printing.progress import ConsoleProgress, Progress
from gatehouse.runtime.clock import LoopClock
from gatehouse.upload.errors import InputInvalid, NotRegistered, PublishError

__all__ = ["seed"]

COMPLETE = "Model Registration Complete"


def seed(
    manifests: Annotated[
        Path | None,
        typer.Option(
            "--manifests", help="Folder of models and versions; the shipped ones when absent.", file_okay=False
        ),
    ] = None,
    profiles: Annotated[bool, typer.Option(help="Apply the shipped hardware profiles first.")] = True,
    namespace: Annotated[
        str | None,
        typer.Option("-n", "--namespace", help="Namespace of the models; the one in their manifests when absent."),
    ] = None,
    registry: Annotated[
        str | None,
        typer.Option("--registry", metavar="NAMESPACE/NAME", help="ModelRegistry; the default one when absent."),
    ] = None,
    submitted_by: Annotated[
        str | None,
        typer.Option(
            "--submitted-by",
            metavar="USER",
            help="Person whom the versions are of, and who therefore does not approve them; nobody when absent.",
        ),
    ] = None,
    timeout: TimeoutOption = 300.0,
    require_ready: Annotated[
        bool, typer.Option("--require-ready", help="Wait until each version is Ready to Deploy; fail if it is not.")
    ] = False,
    output: Annotated[Literal["text", "json"], typer.Option("-o", "--output", help="text or json.")] = "text",
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = None,
) -> None:
    """Apply the shipped hardware profiles and the first model, and wait until it is registered.

    It can be run again at any time: what is there already stays, and an object that somebody changed is left as it is.
    It waits for what is not there yet: the kinds, the namespace, the operator, the registry's database, and up to a
    minute for the store. The files of a version may come later; the summary says how to upload them.

    Exit codes: 0 registered, 1 not (in time), with the reason, 2 an error.

    Examples:

      gatehouse seed

      gatehouse seed --namespace team-a --registry models/team-registry --require-ready --timeout 10m
    """
    goal: Goal = "ready" if require_ready else "registered"
    try:
        objects = _objects(manifests, profiles=profiles, namespace=namespace, registry=registry)
        with ConsoleProgress() as progress, progress.step("registering"):
            done = run_command(
                lambda: until_told_to_stop(
                    _seed(objects, submitted_by, goal, timeout, progress, kubeconfig=kubeconfig, context=context)
                )
            )
    except NotRegistered as error:
        fail(str(error), code=NOT_READY)
    except Stopped as stopped:
        fail(f"{stopped} before the models were registered; what was applied stays, run it again", code=NOT_READY)
    except PublishError as error:
        fail(str(error))
    if output == "json":
        stdout().data(done.wire())
        stderr().line(COMPLETE)
    else:
        _print(done)


def _objects(
    manifests: Path | None, *, profiles: bool, namespace: str | None, registry: str | None
) -> tuple[Declared, ...]:
    objects = load_folder(manifests or shipped("manifests/seed"))
    if namespace is not None:
        objects = in_namespace(objects, namespace)
    if registry is not None:
        objects = in_registry(objects, _reference(registry))
    return (*(load_folder(shipped("manifests/hardware")) if profiles else ()), *objects)


def _reference(registry: str) -> ObjectReference:
    namespace, slash, name = registry.partition("/")
    try:
        return ObjectReference(namespace=namespace, name=name) if slash else ObjectReference(name=namespace)
    except ValidationError:
        raise InputInvalid(f"--registry is {registry!r}; wanted: NAMESPACE/NAME of a ModelRegistry") from None


async def _seed(
    objects: tuple[Declared, ...],
    submitted_by: str | None,
    goal: Goal,
    timeout: float,  # noqa: ASYNC109 - the time of all steps together, each said when it takes long
    progress: Progress,
    *,
    kubeconfig: Path | None,
    context: str | None,
) -> Seeding:
    async with cluster(kubeconfig, context) as client:
        patience = Patience(seconds=timeout, clock=LoopClock(), say=progress.say)
        if submitted_by is not None:
            objects = submitted(objects, by=submitted_by, via=await _caller(client, patience))
        return await run_seed(client, objects, goal=goal, patience=patience)


async def _caller(client: ApiClient, patience: Patience) -> str:
    """Who applies, as soon as the API server answers."""
    while True:
        try:
            return (await whoami(client)).name
        except ApiUnavailable as error:
            await patience.wait(str(error))


def _print(done: Seeding) -> None:
    printer = stdout()
    rows = [("MODEL", "VERSION", "STATUS", "HARDWARE", "RUNTIME", "ID")]
    rows += [(v.model, v.version, v.phase, v.hardware, v.runtime, v.registry_id) for v in done.versions]
    printer.columns(rows)
    notes = [f"{each.declared} is kept as it is: {each.kept}" for each in done.kept]
    notes += [_advice(version) for version in done.versions if not version.ready]
    for line in ("", *notes, *([""] if notes else []), COMPLETE):
        printer.line(line)


def _advice(version: SeededVersion) -> str:
    return f"{version.namespace}/{version.name} is {version.phase}: {version.advice}"
