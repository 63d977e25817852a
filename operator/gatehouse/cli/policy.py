"""``gatehouse policy``: what a draft of a policy would change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final

import typer

from gatehouse.actions.policy_dry_run import Change, Judge, Trial, compiled_drafts
from gatehouse.actions.snapshot import Estate, estate_of_file, policies_of_file, read_estate
from gatehouse.api.model_version import ModelVersion
from gatehouse.cli.connection import NOT_READY, ContextOption, KubeconfigOption, cluster
from gatehouse.cli.options import (
    DatabaseCaOption,
    RowsOption,
    WrittenOutputOption,
    print_data,
    print_table,
    reviewing,
    say,
)
from gatehouse.cli.registry_rows import rows_of
from gatehouse.domain.artifact.values import ArtifactRecord
from gatehouse.domain.governance.policy import CompiledPolicy
from gatehouse.printing import stdout
from gatehouse.printing.progress import ConsoleProgress, counted
from gatehouse.registry.keys import VersionKey

__all__ = ["app"]

_HEADER: Final = ("NAMESPACE", "NAME", "STAGE", "BEFORE", "AFTER", "WHY")

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    help="Work with governance policies.\n\nExit codes: 0 done, 1 a version would lose a stage, 2 an error.",
)


@app.callback()
def _root() -> None:
    """Work with governance policies."""


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
            help="Judge the objects of this file instead of the cluster's; it is what kubectl get "
            "mv,rm,mreg,gp,mev,ma,namespaces -A -o json prints.",
        ),
    ] = None,
    enforce: Annotated[
        bool, typer.Option("--enforce", help="Judge as if the drafts were in mode Enforce, where they say Audit.")
    ] = False,
    database: RowsOption = None,
    database_ca: DatabaseCaOption = None,
    output: WrittenOutputOption = "text",
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = None,
) -> None:
    """Show what a draft would change, were it applied: each version and stage that would be cleared, or not any more.

    A draft stands for the policy of its name, or beside the others. Nothing is written. Versions whose artifact is not
    verified are counted and passed over: no policy is asked about them yet.

    Exit codes: 0 no version would lose a stage, 1 one would, 2 the draft does not compile, or an error.

    Examples:

      gatehouse policy test -f policies/high-risk.yaml

      kubectl get mv,rm,mreg,gp,mev,ma,namespaces -A -o json > all.json

      gatehouse policy test -f policies/high-risk.yaml --versions all.json -o json
    """

    async def load() -> Estate:
        if versions is not None:
            return estate_of_file(versions)
        async with cluster(kubeconfig, context) as client:
            return await read_estate(client)

    async def drafted() -> Sequence[CompiledPolicy]:
        return compiled_drafts(policies_of_file(file), enforce=enforce)

    drafts = reviewing(drafted)
    with ConsoleProgress() as progress, progress.step("reading versions"):
        estate = reviewing(load)
    artifacts = {} if database is None else _artifacts(estate.versions, database, database_ca)
    judge = Judge(estate, drafts, now=datetime.now(UTC), artifacts=artifacts)
    with counted(estate.versions, what="versions judged", total=len(estate.versions)) as counting:
        trial = judge.trial(counting)
    say(_notes(estate, with_rows=database is not None))
    if output == "json":
        print_data(_wire(trial))
    else:
        _print(trial)
    if any(change.loses for change in trial.changes):
        raise typer.Exit(NOT_READY)


def _artifacts(versions: Sequence[ModelVersion], database: str, ca: Path | None) -> Mapping[str, ArtifactRecord]:
    keys = {
        each.metadata.uid: VersionKey(each.status.registry, each.spec.model_ref.name, each.spec.version)
        for each in versions
        if each.status.registry
    }
    found = zip(keys, rows_of(list(keys.values()), database=database, ca=ca), strict=True)
    return {uid: rows.record.artifact for uid, rows in found if rows.record and rows.record.artifact}


def _notes(estate: Estate, *, with_rows: bool) -> Sequence[str]:
    missing = [f"you may not list {name}: judged as if there were none" for name in estate.missing]
    if not with_rows:
        missing.append("rules about config.json or signatures are judged as if there were none: see --database")
    return missing


def _wire(trial: Trial) -> dict[str, object]:
    return {
        "judged": trial.judged,
        "applies": trial.applies,
        "notVerified": trial.not_verified,
        "loses": sum(change.loses for change in trial.changes),
        "changes": [change.wire() for change in trial.changes],
    }


def _print(trial: Trial) -> None:
    if trial.changes:
        print_table([_HEADER, *(_row(change) for change in trial.changes)])
        stdout().line()
    loses = sum(change.loses for change in trial.changes)
    gains = sum(change.after == "Cleared" for change in trial.changes)
    stdout().line(
        f"{trial.judged} versions judged, the draft applies to {trial.applies}; {loses} stages lost, {gains} gained, "
        f"{len(trial.changes) - loses - gains} otherwise changed; {trial.not_verified} not verified yet"
    )


def _row(change: Change) -> Sequence[str]:
    return change.namespace, change.name, change.stage, change.before, change.after, change.why
