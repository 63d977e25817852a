"""``gatehouse submit``, ``deprecate``, ``archive`` and ``restore``: the state that an author declares."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

import typer

from gatehouse.cli.connection import ContextOption, KubeconfigOption, cluster, default_namespace, run_command
from gatehouse.cli.options import (
    DryRunOption,
    NameArgument,
    NamespaceOption,
    ReasonOption,
    WrittenOutputOption,
    print_data,
    say,
    without_managers,
)
from gatehouse.printing import stdout

if TYPE_CHECKING:
    from gatehouse.actions.lifecycle import Moved, Verb

__all__ = ["archive", "deprecate", "restore", "submit"]

_KIND: Final = "modelversion.gatehouse.dev"

ForceOption = Annotated[
    bool,
    typer.Option("--force", help="Change the state even if a tool such as Argo CD declares it and may change it back."),
]


def submit(
    name: NameArgument,
    reason: Annotated[str | None, typer.Option("--reason", metavar="TEXT", help="News for reviewers.")] = None,
    namespace: NamespaceOption = None,
    force: ForceOption = False,
    dry_run: DryRunOption = "none",
    output: WrittenOutputOption = "text",
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = None,
) -> None:
    """Submit a version for review.

    If the version names no author, you become its author, and other people must approve it.

    Exit codes: 0 success, 2 error.

    Example: gatehouse submit granite-3.1-8b -n private-ai
    """
    _move("submit", name, reason, namespace, force, dry_run, output, kubeconfig, context)


def deprecate(
    name: NameArgument,
    reason: ReasonOption,
    namespace: NamespaceOption = None,
    force: ForceOption = False,
    dry_run: DryRunOption = "none",
    output: WrittenOutputOption = "text",
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = None,
) -> None:
    """Advise against new deployments of a version.

    The version stays in the catalog, and running services continue.

    Exit codes: 0 success, 2 error.

    Example: gatehouse deprecate granite-3.1-8b -n private-ai --reason "3.2 answers better"
    """
    _move("deprecate", name, reason, namespace, force, dry_run, output, kubeconfig, context)


def archive(
    name: NameArgument,
    reason: ReasonOption,
    namespace: NamespaceOption = None,
    force: ForceOption = False,
    dry_run: DryRunOption = "none",
    output: WrittenOutputOption = "text",
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = None,
) -> None:
    """Take a version out of the catalog.

    The registry keeps the row, history and evidence of the version, and `gatehouse restore` brings it back.

    Exit codes: 0 success, 2 error.

    Example: gatehouse archive granite-3.1-8b -n private-ai --reason "withdrawn by its provider"
    """
    _move("archive", name, reason, namespace, force, dry_run, output, kubeconfig, context)


def restore(
    name: NameArgument,
    reason: ReasonOption,
    namespace: NamespaceOption = None,
    force: ForceOption = False,
    dry_run: DryRunOption = "none",
    output: WrittenOutputOption = "text",
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = None,
) -> None:
    """Restore an archived or deprecated version.

    The version returns to the state that it had before.

    Exit codes: 0 success, 2 error.

    Example: gatehouse restore granite-3.1-8b -n private-ai --reason "3.2 is slower than we thought"
    """
    _move("restore", name, reason, namespace, force, dry_run, output, kubeconfig, context)


def _move(
    verb: Verb,
    name: str,
    reason: str | None,
    namespace: str | None,
    force: bool,
    dry_run: Literal["none", "server"],
    output: Literal["text", "json"],
    kubeconfig: Path | None,
    context: str | None,
) -> None:
    from gatehouse.actions.identity import SelfAuthorizer
    from gatehouse.actions.lifecycle import Move, move

    async def work() -> Moved:
        home = namespace or await default_namespace(kubeconfig, context)
        request = Move(namespace=home, name=name, verb=verb, reason=reason, force=force, dry_run=dry_run == "server")
        async with cluster(kubeconfig, context) as client:
            return await move(client, SelfAuthorizer(client), request)

    moved = run_command(work)
    say(moved.notes)
    if output == "json":
        print_data(without_managers(moved.body))
        return
    dry = " (server dry run)" if dry_run == "server" else ""
    stdout().line(f"{_KIND}/{name} {moved.outcome}{dry}: {moved.body['spec']['state']}")
