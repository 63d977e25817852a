"""``gatehouse undeploy``: removes an installation and keeps its data."""

from __future__ import annotations

from typing import Annotated

import typer

from gatehouse.cli.connection import ContextOption, KubeconfigOption
from gatehouse.cli.installation import (
    KustomizeOption,
    ObjectStoreOption,
    OverlayArgument,
    kubectl_for,
    plan_of,
    reporting,
)
from gatehouse.printing import stdout

__all__ = ["undeploy"]


def undeploy(
    overlay: OverlayArgument,
    kustomize: KustomizeOption = None,
    object_store: ObjectStoreOption = None,
    delete_data: Annotated[
        bool,
        typer.Option("--delete-data", help="Also delete volumes, Secrets, and the kinds with every model and version."),
    ] = False,
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = None,
) -> None:
    """Remove Gatehouse from a cluster and keep its data.

    The command keeps volumes, Secrets, and the kinds with their objects, unless you pass --delete-data. A later
    installation continues with the kept data. A namespace is deleted only when it is empty.

    Exit codes: 0 success, 2 error.

    Examples:

      gatehouse undeploy rhoai

      gatehouse undeploy rhoai --object-store minio --delete-data
    """
    from gatehouse.install.uninstall import uninstall

    with reporting() as progress:
        kubectl = kubectl_for(kubeconfig, context)
        plan = plan_of(kubectl, overlay, folder=kustomize, object_store=object_store, image=None)
        kept = uninstall(kubectl, plan, delete_data=delete_data, progress=progress)
    for remainder in kept:
        stdout().line(str(remainder))
    stdout().line(f"Gatehouse (overlay {plan.overlay}) is removed.")
