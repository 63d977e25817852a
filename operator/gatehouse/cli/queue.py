"""``gatehouse queue``: the versions that wait for a review."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Final

import typer

from gatehouse.cli.connection import ContextOption, KubeconfigOption, cluster, default_namespace, run_command
from gatehouse.cli.options import WrittenOutputOption, print_data, print_table
from gatehouse.printing import stderr

if TYPE_CHECKING:
    from gatehouse.actions.queue import WaitingVersion

__all__ = ["queue"]

_HEADER: Final = (
    "NAMESPACE",
    "NAME",
    "MODEL",
    "VERSION",
    "STAGE",
    "TIER",
    "SUBMITTED BY",
    "AGE",
    "APPROVALS",
    "OWED",
    "YOU",
)


def queue(
    namespace: Annotated[
        str | None,
        typer.Option("-n", "--namespace", help="Namespace to list. Default: the namespace of the current context."),
    ] = None,
    all_namespaces: Annotated[bool, typer.Option("-A", "--all-namespaces", help="List every namespace.")] = False,
    stage: Annotated[str | None, typer.Option("--stage", help="List only versions that wait for this stage.")] = None,
    mine: Annotated[bool, typer.Option("--mine", help="List only versions that you may approve.")] = False,
    output: WrittenOutputOption = "text",
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = None,
) -> None:
    """List the versions that wait for a review.

    The oldest version comes first. A version waits for the first stage that it is not cleared for. The table shows the
    number of approvals and every shut gate; YOU says whether your approval would count, from your own rights. Admission
    checks your rights again when you approve.

    Exit codes: 0 success, even if no version waits, 2 error.

    Examples:

      gatehouse queue -A --mine

      gatehouse queue -n private-ai --stage production -o json
    """
    from gatehouse.actions.identity import SelfAuthorizer
    from gatehouse.actions.queue import read_queue
    from gatehouse.printing.progress import ConsoleProgress

    async def ask() -> tuple[WaitingVersion, ...]:
        home = "" if all_namespaces else namespace or await default_namespace(kubeconfig, context)
        async with cluster(kubeconfig, context) as client:
            return await read_queue(client, SelfAuthorizer(client), namespace=home)

    with ConsoleProgress() as progress, progress.step("reading versions"):
        everything = run_command(ask)
    chosen = [
        entry
        for entry in everything
        if (stage is None or entry.stage == stage) and not (mine and entry.why_not is not None)
    ]
    if output == "json":
        print_data([entry.wire() for entry in chosen])
    elif chosen:
        rows = [_HEADER, *(_row(entry, now=datetime.now(UTC)) for entry in chosen)]
        print_table(rows if all_namespaces else [row[1:] for row in rows])
    else:
        stderr().line("no version waits for a review")


def _row(entry: WaitingVersion, *, now: datetime) -> Sequence[str]:
    owed = ", ".join(dict.fromkeys(text.partition(":")[0] for text in entry.owed))
    return (
        entry.namespace,
        entry.name,
        entry.model,
        entry.version,
        entry.stage,
        entry.tier or "?",
        entry.submitted_by or "no one",
        _age(now, entry.since),
        entry.approvals or "?",
        owed,
        "may approve" if entry.why_not is None else entry.why_not,
    )


def _age(now: datetime, since: datetime | None) -> str:
    """The age in its largest unit, as kubectl writes it."""
    if since is None:
        return "?"
    seconds = max(0, int((now - since).total_seconds()))
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length}{unit}"
    return f"{seconds}s"
