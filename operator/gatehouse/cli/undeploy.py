"""``gatehouse undeploy``: takes an installation away and keeps its data."""

from __future__ import annotations

from typing import Annotated

import typer

from gatehouse.cli.connection import ContextOption, KubeconfigOption
from gatehouse.cli.deploy import KustomizeOption, ObjectStoreOption, OverlayArgument, kubectl_for, plan_of, reporting
from gatehouse.install.uninstall import uninstall
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
    """Take Gatehouse away. Volumes, Secrets, and the kinds with their objects are kept unless told otherwise.

    Installing again continues with what was kept. A namespace is deleted only when nothing is left in it.

    Exit codes: 0 it is gone, and what was kept is printed, 2 an error.

    Examples:

      gatehouse undeploy rhoai

      gatehouse undeploy rhoai --object-store minio --delete-data
    """
    with reporting() as progress:
        kubectl = kubectl_for(kubeconfig, context)
        plan = plan_of(kubectl, overlay, folder=kustomize, object_store=object_store, image=None)
        kept = uninstall(kubectl, plan, delete_data=delete_data, progress=progress)
    for each in kept:
        stdout().line(str(each))
    stdout().line(f"Gatehouse (overlay {plan.overlay}) is gone.")
