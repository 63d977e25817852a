"""``gatehouse policy``: the effect of a draft of a policy."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from gatehouse.cli.connection import ContextOption, KubeconfigOption, cluster, run_command
from gatehouse.cli.exits import NOT_MET, exits
from gatehouse.cli.options import (
    DatabaseCaOption,
    RowsOption,
    WrittenOutputOption,
    print_data,
    print_table,
    say,
)
from gatehouse.printing import stdout

if TYPE_CHECKING:
    from gatehouse.actions.policy_dry_run import Change, Trial
    from gatehouse.actions.snapshot import Snapshot

__all__ = ["app"]

_HEADER: Final = ("NAMESPACE", "NAME", "STAGE", "BEFORE", "AFTER", "WHY")

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    help="Test drafts of governance policies.\n\n"
    "Exit codes: 0 success, 1 condition not met: a version would lose a stage, 2 error.",
)


@app.callback()
def _root() -> None:
    """Test drafts of governance policies."""


@app.command("test")
def try_drafts(
    file: Annotated[
        Path, typer.Option("-f", "--file", metavar="FILE", help="YAML file with one or more GovernancePolicies.")
    ],
    versions: Annotated[
        Path | None,
        typer.Option(
            "--versions",
            metavar="FILE",
            help="Evaluate the objects of this file instead of the cluster: the output of kubectl get "
            "mv,rm,mreg,gp,mev,ma,namespaces -A -o json.",
        ),
    ] = None,
    enforce: Annotated[
        bool, typer.Option("--enforce", help="Evaluate drafts of mode Audit as if their mode were Enforce.")
    ] = False,
    database: RowsOption = None,
    database_ca: DatabaseCaOption = None,
    output: WrittenOutputOption = "text",
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = None,
) -> None:
    """Show which versions would gain or lose a stage if a draft were applied.

    A draft replaces the policy of the same name, or adds to the other policies. The command writes nothing. It counts
    and skips versions whose artifact is not verified, because no policy is evaluated for them yet.

    Exit codes: 0 success: no version would lose a stage, 1 condition not met: a version would lose a stage, 2 error,
    such as a draft that does not compile.

    Examples:

      gatehouse policy test -f policies/high-risk.yaml

      kubectl get mv,rm,mreg,gp,mev,ma,namespaces -A -o json > all.json

      gatehouse policy test -f policies/high-risk.yaml --versions all.json -o json
    """
    from gatehouse.actions.objects import objects_of_file, policies_of_file
    from gatehouse.actions.policy_dry_run import Judge, compiled_drafts
    from gatehouse.actions.registry_rows import artifact_records
    from gatehouse.actions.snapshot import read_snapshot
    from gatehouse.printing.progress import ConsoleProgress, counted

    async def load() -> Snapshot:
        if versions is not None:
            return await read_snapshot(objects_of_file(versions))
        async with cluster(kubeconfig, context) as client:
            return await read_snapshot(client)

    with exits():
        drafts = compiled_drafts(policies_of_file(file), enforce=enforce)
        with ConsoleProgress() as progress, progress.step("reading versions"):
            snapshot = run_command(load)
        artifacts = {} if database is None else artifact_records(snapshot.versions, database=database, ca=database_ca)
    judge = Judge(snapshot, drafts, now=datetime.now(UTC), artifacts=artifacts)
    with counted(snapshot.versions, what="versions evaluated", total=len(snapshot.versions)) as counting:
        trial = judge.trial(counting)
    say(_notes(snapshot, with_rows=database is not None))
    if output == "json":
        print_data(trial.wire())
    else:
        _print(trial)
    if trial.losses:
        raise typer.Exit(NOT_MET)


def _notes(snapshot: Snapshot, *, with_rows: bool) -> Sequence[str]:
    missing = [f"you cannot list {name}: the command evaluates as if none existed" for name in snapshot.missing]
    if not with_rows:
        missing.append("rules about config.json or signatures are evaluated without them; use --database")
    return missing


def _print(trial: Trial) -> None:
    if trial.changes:
        print_table([_HEADER, *(_row(change) for change in trial.changes)])
        stdout().line()
    gains = sum(change.after == "Cleared" for change in trial.changes)
    stdout().line(
        f"{trial.judged} versions evaluated, the draft applies to {trial.applies}; {trial.losses} stages lost, "
        f"{gains} gained, {len(trial.changes) - trial.losses - gains} otherwise changed; "
        f"{trial.not_verified} not verified yet"
    )


def _row(change: Change) -> Sequence[str]:
    return change.namespace, change.name, change.stage, change.before, change.after, change.why
