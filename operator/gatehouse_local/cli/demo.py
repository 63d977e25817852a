"""``gatehouse demo``: the options of the demo."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["demo"]


def demo(
    once: Annotated[bool, typer.Option("--once", help="End after the walk instead of waiting for Ctrl-C.")] = False,
    directory: Annotated[
        Path | None, typer.Option("--dir", help="Folder of the demo's cluster; the demo removes the folder at the end.")
    ] = None,
) -> None:
    """Start a local cluster, register a miniature Granite, watch its gates open, and walk through the gatekeeper.

    Everything listens on loopback, and is stopped and removed at the end.

    The walk is docs/walk.md, command by command: a model is refused, submitted, approved, deployed and altered.

    Exit codes: 0 success, 1 condition not met: a step of the demo failed, 2 error: the cluster could not be started.

    Example: gatehouse demo --once
    """
    from gatehouse_local.demo import run_demo

    run_demo(once=once, directory=directory)
