"""``gatehouse server``: the REST server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from gatehouse.app.server_settings import ServerSettings
from gatehouse.cli.settings_flags import settings_or_exit, settings_signature
from gatehouse.cli.startup import for_good

__all__ = ["server"]


def server(*, config: Path | None, **flags: Any) -> None:
    """Run the REST server until it is told to stop.

    The server answers clients of the registry over HTTP. It reads the rows of one registry, and writes objects with the
    credentials of each caller. Any number of servers may run. Settings come from flags, then from the environment, then
    from a file; docs/settings.md describes them.

    Examples:

      gatehouse server --listen-address 0.0.0.0:8080 --registry models/registry

      gatehouse server --config /etc/gatehouse/server.yaml

    Exit codes: 0 success: the server was told to stop, 2 error: the server could not start.
    """
    loaded = settings_or_exit(ServerSettings, config=config, flags=flags)
    with for_good():
        from gatehouse.server.process import run_server

    raise typer.Exit(run_server(loaded.settings))


# Typer reads the flags from the signature, and the signature follows from the declaration of the settings.
server.__signature__ = settings_signature(ServerSettings)  # type: ignore[attr-defined]
