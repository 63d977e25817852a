"""``gatehouse queue``: what waits for a review, and for whose."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Final

import typer

from gatehouse.actions.queue import Waiting, ask_queue
from gatehouse.cli.connection import ContextOption, KubeconfigOption, cluster, default_namespace
from gatehouse.cli.options import WrittenOutputOption, print_data, print_table, reviewing
from gatehouse.printing import stderr
from gatehouse.printing.progress import ConsoleProgress

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
        str | None, typer.Option("-n", "--namespace", help="Only this namespace; the context's namespace when absent.")
    ] = None,
    all_namespaces: Annotated[bool, typer.Option("-A", "--all-namespaces", help="Every namespace.")] = False,
    stage: Annotated[str | None, typer.Option("--stage", help="Only what waits for this stage.")] = None,
    mine: Annotated[bool, typer.Option("--mine", help="Only what you may approve.")] = False,
    output: WrittenOutputOption = "text",
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = None,
) -> None:
    """List the versions that wait for a review, oldest first: how many approvals there are, and what else is owed.

    A version waits for the first stage that it is not cleared for. YOU says whether your approval is wanted, from your
    own rights; admission asks them again when you approve.

    Exit codes: 0 listed, also when nothing waits, 2 an error.

    Examples:

      gatehouse queue -A --mine

      gatehouse queue -n private-ai --stage production -o json
    """

    async def ask() -> tuple[Waiting, ...]:
        where = "" if all_namespaces else namespace or await default_namespace(kubeconfig, context)
        async with cluster(kubeconfig, context) as client:
            return await ask_queue(client, namespace=where)

    with ConsoleProgress() as progress, progress.step("reading versions"):
        everything = reviewing(ask)
    found = [
        each
        for each in everything
        if (stage is None or each.stage == stage) and not (mine and each.why_not is not None)
    ]
    if output == "json":
        print_data([each.wire() for each in found])
    elif found:
        rows = [_HEADER, *(_row(each, now=datetime.now(UTC)) for each in found)]
        print_table(rows if all_namespaces else [row[1:] for row in rows])
    else:
        stderr().line("nothing waits for a review")


def _row(each: Waiting, *, now: datetime) -> Sequence[str]:
    owed = ", ".join(dict.fromkeys(text.partition(":")[0] for text in each.owed))
    return (
        each.namespace,
        each.name,
        each.model,
        each.version,
        each.stage,
        each.tier or "?",
        each.submitted_by or "nobody",
        _age(now, each.since),
        each.approvals or "?",
        owed,
        "may approve" if each.why_not is None else each.why_not,
    )


def _age(now: datetime, since: datetime | None) -> str:
    """As kubectl writes it, in its largest unit."""
    if since is None:
        return "?"
    seconds = max(0, int((now - since).total_seconds()))
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length}{unit}"
    return f"{seconds}s"
