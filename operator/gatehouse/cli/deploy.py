"""``gatehouse deploy``: Gatehouse on a cluster, from an overlay."""

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
    print_installed,
    reporting,
)
from gatehouse.cli.options import TimeoutOption

__all__ = ["deploy"]


def deploy(
    overlay: OverlayArgument,
    kustomize: KustomizeOption = None,
    image: Annotated[
        str | None,
        typer.Option("--image", metavar="REF", help="Image of Gatehouse. Default: the image that the overlay names."),
    ] = None,
    object_store: ObjectStoreOption = None,
    wait: Annotated[bool, typer.Option(help="Wait until Gatehouse runs and the seed is complete.")] = True,
    timeout: TimeoutOption = 300.0,
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = None,
) -> None:
    """Install or upgrade Gatehouse on a cluster.

    You can run the command at any time. It checks the cluster, applies the kinds, waits until the API server serves
    them, applies all other objects by server-side apply, and waits for the databases, the operator and the seed. For
    each part that does not start it prints the reason. Applied objects stay.

    Exit codes: 0 success, 1 condition not met: Gatehouse did not start in time or a Job failed, 2 error.

    Examples:

      gatehouse deploy rhoai --object-store minio

      gatehouse deploy postgres --image registry.example.com/gatehouse:0.1.0 --timeout 10m

      gatehouse deploy embedded --context staging --no-wait
    """
    from gatehouse.install.install import install

    with reporting() as progress:
        kubectl = kubectl_for(kubeconfig, context)
        plan = plan_of(kubectl, overlay, folder=kustomize, object_store=object_store, image=image)
        install(kubectl, plan, progress=progress, seconds=timeout if wait else None)
    print_installed(kubectl, plan, waited=wait)
