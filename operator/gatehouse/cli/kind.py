"""``gatehouse kind``: the overlay kind on a kind cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gatehouse import __version__
from gatehouse.cli.deploy import KustomizeOption, installed, kubectl_for, plan_of, reporting
from gatehouse.cli.options import TimeoutOption
from gatehouse.install.install import install
from gatehouse.install.kind import context_of, prepare_kind
from gatehouse.install.manifests import IMAGE

__all__ = ["kind"]


def kind(
    name: Annotated[str, typer.Option("--name", help="Name of the kind cluster; it is made if it is absent.")] = (
        "gatehouse"
    ),
    source: Annotated[
        Path, typer.Option("--source", help="Checkout with the Dockerfile.", file_okay=False, exists=True)
    ] = Path(),
    kustomize: KustomizeOption = None,
    timeout: TimeoutOption = 300.0,
) -> None:
    """Build the image, load it into a kind cluster, and install the overlay kind there, with MinIO.

    It needs Docker and kind. Without Docker: gatehouse local up --node.

    Exit codes: 0 it runs, 1 not in time or a Job failed (and why), 2 an error, such as no Docker.

    Examples:

      gatehouse kind

      gatehouse kind --name demo --timeout 15m
    """
    image = f"{IMAGE}:{__version__}"
    with reporting() as progress:
        prepare_kind(name, image=image, source=source.absolute(), progress=progress)
        kubectl = kubectl_for(None, context_of(name))
        plan = plan_of(kubectl, "kind", folder=kustomize, object_store=None, image=image)
        install(kubectl, plan, progress=progress, seconds=timeout)
    installed(kubectl, plan, waited=True)
