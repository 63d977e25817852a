"""``gatehouse deploy``: Gatehouse on a cluster, from an overlay."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import typer

from gatehouse.cli.connection import NOT_READY, ContextOption, KubeconfigOption, fail
from gatehouse.cli.local_package import local_kubectl
from gatehouse.cli.options import TimeoutOption
from gatehouse.install.errors import DeployError, NotComplete
from gatehouse.install.install import install, job_log, where_to_look
from gatehouse.install.kubectl import Kubectl, find_kubectl
from gatehouse.install.manifests import tagged_images
from gatehouse.install.overlays import OverlayPlan, render
from gatehouse.install.shipped_files import shipped
from gatehouse.printing import stdout
from gatehouse.printing.progress import ConsoleProgress

__all__ = [
    "KustomizeOption",
    "ObjectStoreOption",
    "OverlayArgument",
    "deploy",
    "installed",
    "kubectl_for",
    "plan_of",
    "reporting",
]

OverlayArgument = Annotated[str, typer.Argument(metavar="OVERLAY", help="rhoai, postgres, embedded or kind.")]
KustomizeOption = Annotated[
    Path | None,
    typer.Option("--kustomize", help="Folder with overlays/; the shipped one when absent.", file_okay=False),
]
ObjectStoreOption = Annotated[
    Literal["minio"] | None,
    typer.Option("--object-store", help="Install MinIO beside it; when absent, the registry names a store of yours."),
]


@contextmanager
def reporting() -> Iterator[ConsoleProgress]:
    """Progress on stderr; an installation that is not complete ends with code 1, an error with code 2."""
    try:
        with ConsoleProgress() as progress:
            yield progress
    except NotComplete as error:
        fail(str(error), code=NOT_READY)
    except DeployError as error:
        fail(str(error))


def kubectl_for(kubeconfig: Path | None, context: str | None) -> Kubectl:
    """The kubectl of this machine, pointed at a cluster."""
    return Kubectl(find_kubectl(local=local_kubectl), kubeconfig=kubeconfig, context=context)


def plan_of(
    kubectl: Kubectl, overlay: str, *, folder: Path | None, object_store: str | None, image: str | None
) -> OverlayPlan:
    """The rendered overlay."""
    return render(
        overlay,
        folder=folder or shipped("kustomize"),
        kustomize=kubectl.render,
        image=image,
        object_store=object_store,
    )


def deploy(
    overlay: OverlayArgument,
    kustomize: KustomizeOption = None,
    image: Annotated[
        str | None, typer.Option("--image", metavar="REF", help="Image of Gatehouse; the overlay's when absent.")
    ] = None,
    object_store: ObjectStoreOption = None,
    wait: Annotated[bool, typer.Option(help="Wait until it runs and the seed is complete.")] = True,
    timeout: TimeoutOption = 300.0,
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = None,
) -> None:
    """Install Gatehouse, or upgrade it: run it again at any time.

    It checks the cluster, applies the kinds and waits until they are served, applies the rest by server-side apply, and
    waits for the databases, the operator and the seed. What does not come is named with its reason, and stays.

    Exit codes: 0 it runs, 1 not in time or a Job failed (and why), 2 an error.

    Examples:

      gatehouse deploy rhoai --object-store minio

      gatehouse deploy postgres --image registry.example.com/gatehouse:0.1.0 --timeout 10m

      gatehouse deploy embedded --context staging --no-wait
    """
    with reporting() as progress:
        kubectl = kubectl_for(kubeconfig, context)
        plan = plan_of(kubectl, overlay, folder=kustomize, object_store=object_store, image=image)
        install(kubectl, plan, progress=progress, seconds=timeout if wait else None)
    installed(kubectl, plan, waited=wait)


def installed(kubectl: Kubectl, plan: OverlayPlan, *, waited: bool) -> None:
    """Prints what the seed said, and where to look."""
    if waited and plan.last_job is not None and (log := job_log(kubectl, plan.last_job)):
        stdout().text(f"{log}\n")
    stdout().line(f"Gatehouse runs (overlay {plan.overlay})." if waited else "Applied; it is starting.")
    if tagged := tagged_images(plan.manifests):
        stdout().line(
            f"Images by tag: {', '.join(tagged)}. Anybody who may write to their registry decides what they are; "
            "docs/install.md#images tells how to name them by digest."
        )
    stdout().line("Where to look:")
    for command in where_to_look(plan):
        stdout().line(f"  {command}")
