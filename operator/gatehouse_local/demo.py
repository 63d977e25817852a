"""The demo: the main job on a local cluster, with a view of the gates as they open."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text

from gatehouse.actions.explanation import Explanation
from gatehouse.api.model_version import ModelVersion
from gatehouse.cli.connection import run_command
from gatehouse.cli.exits import NOT_MET, fail
from gatehouse.cli.explanation_output import print_explanation
from gatehouse.cluster.client import ApiClient
from gatehouse.printing import Printer, stdout
from gatehouse.printing.progress import ConsoleProgress
from gatehouse_local.cluster import LocalCluster, default_directory
from gatehouse_local.errors import LocalClusterError
from gatehouse_local.showcase import ARTIFACT_URI, MODEL, NAMESPACE, VERSION, manifests, upload_miniature
from gatehouse_local.walk import StepFailed, programs, run_step, steps

__all__ = ["run_demo"]

PATIENCE: Final = 60.0
"""Seconds within which the miniature must become ready; the miniature takes less than one."""
POLL: Final = 0.1
WAITS: Final = f"""
It is cleared for staging. Production is protected: the default policy for medium risk needs the approval of another
person, who finds the version with gatehouse queue:

  gatehouse approve {VERSION} -n {NAMESPACE} --stage production --reason "..." --context ai-admin
"""
PLURALS: Final = {"Namespace": "namespaces", "RegisteredModel": "registeredmodels", "ModelVersion": "modelversions"}


def run_demo(*, once: bool, directory: Path | None) -> None:
    """Runs the demo in its own cluster, which is removed at the end. ``once`` ends the demo after the walk.

    Raises:
        typer.Exit: a step did not go as it should, or the cluster could not be started.
    """
    printer = stdout()
    folder = directory or default_directory().with_name("demo")
    with _cluster(folder) as cluster:
        env = cluster.env()
        ready = run_command(lambda: _main_job(printer, env))
        _show(printer, cluster, env)
        if not ready:
            raise typer.Exit(NOT_MET)
        _walk(printer, cluster, env)
        if not once:
            _stay(printer, folder)


@contextmanager
def _cluster(folder: Path) -> Iterator[LocalCluster]:
    try:
        with ConsoleProgress() as progress:
            cluster = LocalCluster(folder, progress=progress)
            cluster.down(purge=True)
            cluster.up(database="sqlite")
    except LocalClusterError as error:
        fail(str(error))
    try:
        yield cluster
    finally:
        with ConsoleProgress() as progress:
            LocalCluster(folder, progress=progress).down(purge=True)


async def _main_job(printer: Printer, env: Mapping[str, str]) -> bool:
    printer.line(f"Uploading a miniature of Granite 3.1 8B FP8 (real files, tiny dimensions) to {ARTIFACT_URI}")
    count = await asyncio.to_thread(upload_miniature, env)
    printer.line(f"{count} files uploaded. Applying RegisteredModel {MODEL} and ModelVersion {VERSION}")
    async with await ApiClient.connect(kubeconfig=Path(env["KUBECONFIG"]), context="admin") as client:
        for manifest in manifests():
            await _apply(client, manifest)
        version = await _watch(printer, client)
    printer.line()
    print_explanation(printer, Explanation(version=version))
    printer.text(WAITS)
    return Explanation(version=version).ready


async def _apply(client: ApiClient, manifest: Mapping[str, Any]) -> None:
    metadata = manifest["metadata"]
    await client.patch(
        PLURALS[manifest["kind"]],
        metadata.get("namespace", ""),
        metadata["name"],
        manifest,
        kind="application/apply-patch+yaml",
        params={"fieldManager": "gatehouse-demo", "force": "true"},
    )


async def _watch(printer: Printer, client: ApiClient) -> ModelVersion:
    """Shows the gates until the version is ready or the time is over."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + PATIENCE
    with Live(console=printer.console, transient=True, refresh_per_second=10) as live:
        while True:
            version = ModelVersion.model_validate(await client.get(PLURALS["ModelVersion"], NAMESPACE, VERSION))
            live.update(_view(version))
            if Explanation(version=version).ready or loop.time() > deadline:
                return version
            await asyncio.sleep(POLL)


def _view(version: ModelVersion) -> RenderableType:
    lines = [Text(f"{version.metadata.name}  {version.status.phase or 'not reconciled yet'}", style="bold")]
    for gate in version.status.gates:
        mark, style = ("open", "green") if gate.open else ("shut", "yellow") if gate.shut else ("?", "yellow")
        lines.append(Text.assemble((f"  {mark} ", style), gate.name, f"  {gate.found}"))
    progress = version.status.verification
    if progress is not None:
        lines.append(Text(f"  {progress.bytes_done} of {progress.bytes} bytes hashed"))
    return Group(*lines)


def _show(printer: Printer, cluster: LocalCluster, env: Mapping[str, str]) -> None:
    kubectl = cluster.kubectl() or shutil.which("kubectl")
    config_map = f"{VERSION}-serving"
    commands = (
        ["get", "modelversions", "-A"],
        ["get", "configmap", config_map, "-n", NAMESPACE, "-o", r"jsonpath={.data.inferenceservice\.yaml}"],
    )
    for arguments in commands:
        printer.line()
        printer.line(f"$ kubectl {' '.join(arguments)}", style="bold")
        if kubectl is not None:
            answer = subprocess.run(
                [str(kubectl), "--context=admin", *arguments],
                env={**os.environ, "KUBECONFIG": env["KUBECONFIG"]},
                capture_output=True,
                text=True,
                check=False,
            )
            printer.text(answer.stdout or answer.stderr)


def _walk(printer: Printer, cluster: LocalCluster, env: Mapping[str, str]) -> None:
    """Runs every step of docs/walk.md and shows its output."""
    kubectl = cluster.kubectl() or shutil.which("kubectl")
    if kubectl is None:
        printer.text("\nThe walk through the gatekeeper (docs/walk.md) needs kubectl, which is not installed.")
        return
    with TemporaryDirectory(prefix="gatehouse-walk-") as folder:
        home = Path(folder)
        path = programs(home / "bin", kubectl=Path(kubectl))
        for step in steps():
            if step.title:
                printer.text(f"\n{step.title}", style="bold cyan")
            printer.text(f"\n$ {step.script}", style="bold")
            try:
                said = run_step(step, folder=home, env={**os.environ, **env, "PATH": path})
            except StepFailed as failed:
                printer.text(str(failed), style="red")
                raise typer.Exit(NOT_MET) from failed
            printer.text(said.rstrip())


def _stay(printer: Printer, folder: Path) -> None:
    option = f"--dir {folder}"
    printer.text(
        f"""
The cluster stays until Ctrl-C. In another terminal:

  eval "$(gatehouse local env {option})"
  kubectl get modelversions -A -o wide
  gatehouse explain {VERSION} -n {NAMESPACE}
  gatehouse template {VERSION} -n {NAMESPACE}

Break the artifact and watch it turn to Artifact Changed:

  echo x | aws s3 cp - {ARTIFACT_URI}README.md        # or any S3 client
  kubectl annotate mv {VERSION} -n {NAMESPACE} --overwrite gatehouse.dev/reconcile-requested-at="$(date)"
  kubectl get mv -n {NAMESPACE} -w
"""
    )
    signal.sigwait({signal.SIGINT, signal.SIGTERM})
