"""``gatehouse run``: the operator."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from gatehouse.app.settings import Settings
from gatehouse.cli.settings_flags import settings_or_exit, settings_signature
from gatehouse.cli.startup import for_good

__all__ = ["run"]


def run(*, config: Path | None, **flags: Any) -> None:
    """Run the operator until it is told to stop.

    Settings come from flags, then from the environment, then from a file; docs/settings.md describes them. Credentials
    come from the service account of the Pod. Outside of a Pod they come from a kubeconfig.

    Examples:

      gatehouse run --config /etc/gatehouse/config.yaml

      gatehouse run --data-dir ./data --namespace team-a --namespace team-b --no-leader-elect

    Exit codes: 0 success: the operator was told to stop, 1 condition not met: the operator lost leadership and must be
    started again, 2 error: the operator could not start.
    """
    loaded = settings_or_exit(Settings, config=config, flags=flags)
    # The operator takes a second to import, and no other command should wait for the import.
    with for_good():
        from gatehouse.app.operator import run_operator

    raise typer.Exit(run_operator(loaded.settings))


# Typer reads the flags from the signature, and the signature follows from the declaration of the settings.
run.__signature__ = settings_signature(Settings)  # type: ignore[attr-defined]
