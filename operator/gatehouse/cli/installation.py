"""Options and output of the commands that install: ``deploy``, ``undeploy`` and ``kind``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from gatehouse.cli.exits import exits
from gatehouse.printing import stdout

if TYPE_CHECKING:
    from gatehouse.install.kubectl import Kubectl
    from gatehouse.install.overlays import OverlayPlan
    from gatehouse.printing.progress import ConsoleProgress

__all__ = [
    "KustomizeOption",
    "ObjectStoreOption",
    "OverlayArgument",
    "kubectl_for",
    "plan_of",
    "print_installed",
    "reporting",
]

OverlayArgument = Annotated[str, typer.Argument(metavar="OVERLAY", help="rhoai, postgres, embedded or kind.")]
KustomizeOption = Annotated[
    Path | None,
    typer.Option("--kustomize", help="Folder that contains overlays/. Default: the shipped folder.", file_okay=False),
]
ObjectStoreOption = Annotated[
    Literal["minio"] | None,
    typer.Option("--object-store", help="Install MinIO too. Default: the registry names your own store."),
]


@contextmanager
def reporting() -> Iterator[ConsoleProgress]:
    """Progress on stderr; ends the command for an error of the installation."""
    from gatehouse.printing.progress import ConsoleProgress

    with exits(), ConsoleProgress() as progress:
        yield progress


def kubectl_for(kubeconfig: Path | None, context: str | None) -> Kubectl:
    """The kubectl of this machine, for one cluster."""
    from gatehouse.cli.local_package import local_kubectl
    from gatehouse.install.kubectl import Kubectl, find_kubectl

    return Kubectl(find_kubectl(local=local_kubectl), kubeconfig=kubeconfig, context=context)


def plan_of(
    kubectl: Kubectl, overlay: str, *, folder: Path | None, object_store: str | None, image: str | None
) -> OverlayPlan:
    """The rendered overlay."""
    from gatehouse.install.overlays import render
    from gatehouse.install.shipped_files import shipped

    return render(
        overlay,
        folder=folder or shipped("kustomize"),
        kustomize=kubectl.render,
        image=image,
        object_store=object_store,
    )


def print_installed(kubectl: Kubectl, plan: OverlayPlan, *, waited: bool) -> None:
    """Prints the log of the seed, and the commands that show the installation."""
    from gatehouse.install.install import job_log, where_to_look
    from gatehouse.install.manifests import tagged_images

    if waited and plan.last_job is not None and (log := job_log(kubectl, plan.last_job)):
        stdout().text(f"{log}\n")
    stdout().line(f"Gatehouse runs (overlay {plan.overlay})." if waited else "Applied; Gatehouse is starting.")
    if tagged := tagged_images(plan.manifests):
        stdout().line(
            f"Images by tag: {', '.join(tagged)}. Anyone who may push to their registry can replace them; "
            "docs/install.md#images says how to name them by digest."
        )
    stdout().line("Where to look:")
    for command in where_to_look(plan):
        stdout().line(f"  {command}")
