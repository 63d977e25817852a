"""``gatehouse kind``: the overlay kind on a kind cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gatehouse import __version__
from gatehouse.cli.installation import KustomizeOption, kubectl_for, plan_of, print_installed, reporting
from gatehouse.cli.options import TimeoutOption

__all__ = ["kind"]


def kind(
    name: Annotated[
        str, typer.Option("--name", help="Name of the kind cluster, which is created if it does not exist.")
    ] = "gatehouse",
    source: Annotated[
        Path, typer.Option("--source", help="Checkout that contains the Dockerfile.", file_okay=False, exists=True)
    ] = Path(),
    kustomize: KustomizeOption = None,
    timeout: TimeoutOption = 300.0,
) -> None:
    """Install Gatehouse on a kind cluster.

    The command builds the image, loads it into the kind cluster, and installs the overlay kind with MinIO. It needs
    Docker and kind. Without Docker, use gatehouse local up --node.

    Exit codes: 0 success, 1 condition not met: Gatehouse did not start in time or a Job failed, 2 error, such as no
    Docker.

    Examples:

      gatehouse kind

      gatehouse kind --name demo --timeout 15m
    """
    from gatehouse.install.install import install
    from gatehouse.install.kind import context_of, prepare_kind
    from gatehouse.install.manifests import IMAGE

    image = f"{IMAGE}:{__version__}"
    with reporting() as progress:
        prepare_kind(name, image=image, source=source.absolute(), progress=progress)
        kubectl = kubectl_for(None, context_of(name))
        plan = plan_of(kubectl, "kind", folder=kustomize, object_store=None, image=image)
        install(kubectl, plan, progress=progress, seconds=timeout)
    print_installed(kubectl, plan, waited=True)
