"""``gatehouse submit``, ``deprecate``, ``archive`` and ``restore``: what authors do."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from gatehouse.actions.lifecycle import Move, Moved, Verb, move
from gatehouse.api.meta import GROUP
from gatehouse.cli.connection import ContextOption, KubeconfigOption, cluster, default_namespace
from gatehouse.cli.options import (
    DryRunOption,
    NameArgument,
    NamespaceOption,
    ReasonOption,
    WrittenOutputOption,
    print_data,
    reviewing,
    say,
    without_managers,
)
from gatehouse.printing import stdout

__all__ = ["archive", "deprecate", "restore", "submit"]

ForceOption = Annotated[
    bool, typer.Option("--force", help="Also where a tool such as Argo CD declares the state, and may put it back.")
]


def submit(
    name: NameArgument,
    reason: Annotated[str | None, typer.Option("--reason", metavar="TEXT", help="What is new, for reviewers.")] = None,
    namespace: NamespaceOption = None,
    force: ForceOption = False,
    dry_run: DryRunOption = "none",
    output: WrittenOutputOption = "text",
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = None,
) -> None:
    """Submit a version for review. Where it names no author you become it: then others must approve it.

    Exit codes: 0 done, 2 refused, or an error.

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
    """Tell everybody not to deploy a version any more. It stays in the catalog; services that run it go on.

    Exit codes: 0 done, 2 refused, or an error.

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
    """Take a version out of the catalog. Its row, history and evidence are kept, and it can be restored.

    Exit codes: 0 done, 2 refused, or an error.

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
    """Put an archived or deprecated version back to what it was.

    Exit codes: 0 done, 2 refused, or an error.

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
    async def work() -> Moved:
        where = namespace or await default_namespace(kubeconfig, context)
        wanted = Move(namespace=where, name=name, verb=verb, reason=reason, force=force, dry_run=dry_run == "server")
        async with cluster(kubeconfig, context) as client:
            return await move(client, wanted)

    moved = reviewing(work)
    say(moved.notes)
    if output == "json":
        print_data(without_managers(moved.body))
        return
    dry = " (server dry run)" if dry_run == "server" else ""
    stdout().line(f"modelversion.{GROUP}/{name} {moved.outcome}{dry}: {moved.body['spec']['state']}")
