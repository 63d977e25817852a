"""``gatehouse run``: the operator."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gatehouse.cli.connection import ContextOption, KubeconfigOption

__all__ = ["run"]


def run(
    data_dir: Annotated[
        Path, typer.Option("--data-dir", envvar="GATEHOUSE_DATA_DIR", help="Where SQLite registries live.")
    ] = Path("/var/lib/gatehouse"),
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = None,
    namespace: Annotated[
        list[str] | None,
        typer.Option(
            "--namespace", envvar="GATEHOUSE_NAMESPACES", help="Watch only these namespaces; all of them when absent."
        ),
    ] = None,
    health_address: Annotated[
        str,
        typer.Option(
            "--health-address",
            envvar="GATEHOUSE_HEALTH_ADDRESS",
            help="HOST:PORT of /healthz, /readyz and /metrics; 0 for none.",
        ),
    ] = "0.0.0.0:8081",
    leader_elect: Annotated[
        bool, typer.Option(envvar="GATEHOUSE_LEADER_ELECT", help="Lead only while holding a Lease.")
    ] = True,
    lease_namespace: Annotated[
        str, typer.Option("--lease-namespace", envvar="POD_NAMESPACE", help="Namespace of the Lease.")
    ] = "gatehouse-system",
    workers: Annotated[
        int, typer.Option("--workers", envvar="GATEHOUSE_WORKERS", min=1, max=256, help="Versions reconciled at once.")
    ] = 64,
    log_level: Annotated[
        str, typer.Option("--log-level", envvar="GATEHOUSE_LOG_LEVEL", help="debug, info, warning or error.")
    ] = "info",
) -> None:
    """Run the operator until it is told to stop.

    Credentials come from the service account of the Pod, or else from a kubeconfig.

    Exit codes: 0 it was told to stop, 1 it lost leadership (start it again), 2 it could not start.
    """
    # The operator's parts take a second to import, which no other command should wait for.
    from gatehouse.app import Settings, run_operator  # noqa: PLC0415

    code = run_operator(
        Settings(
            data_dir=data_dir,
            kubeconfig=kubeconfig,
            context=context,
            namespaces=tuple(namespace or ()),
            health_address=health_address,
            leader_elect=leader_elect,
            lease_namespace=lease_namespace,
            version_workers=workers,
        ),
        log_level=log_level,
    )
    raise typer.Exit(code)
