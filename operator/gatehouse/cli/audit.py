"""``gatehouse audit``: who changed what, and whether the record of the changes is whole."""

from __future__ import annotations

from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from gatehouse.cli.exits import NOT_MET, exits
from gatehouse.cli.options import (
    AuditDatabaseOption,
    DatabaseCaOption,
    EndpointOption,
    RegionOption,
    StoreCaOption,
    WrittenOutputOption,
    print_data,
    seconds,
)
from gatehouse.printing import stdout

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from gatehouse.domain.audit.records import AuditRecord, StoredRecord
    from gatehouse.domain.audit.trust import Verdict
    from gatehouse.storage.port import StoreFlags

__all__ = ["app", "log", "verify"]

app = typer.Typer(
    rich_markup_mode=None,
    add_completion=False,
    no_args_is_help=True,
    help="Read and verify the audit trail of a registry. Both commands read only the database.",
)

RegistryOption = Annotated[
    str | None,
    typer.Option("--registry", metavar="NAMESPACE/NAME", help="Registry. Default: the only one in the database."),
]


@app.command()
def log(
    database: AuditDatabaseOption,
    registry: RegistryOption = None,
    model: Annotated[str | None, typer.Option("--model", help="Print only records about this model.")] = None,
    version: Annotated[str | None, typer.Option("--version", help="Print only records about this version.")] = None,
    since: Annotated[
        str | None,
        typer.Option(
            "--since",
            metavar="TIME",
            help="Print only records since this age or time, such as 24h, 2026-11-21 or 2026-11-21T08:00Z.",
        ),
    ] = None,
    kind: Annotated[
        str | None, typer.Option("--kind", help="Print only records about objects of this kind, such as ModelApproval.")
    ] = None,
    name: Annotated[
        str | None,
        typer.Option("--name", help="Print only records about the object of this name, such as a policy."),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1_000_000, help="Print the newest N records.")] = 100,
    output: Annotated[Literal["table", "json"], typer.Option("-o", "--output", help="Output format.")] = "table",
    database_ca: DatabaseCaOption = None,
) -> None:
    """Print the audit records.

    The newest record comes last. Each record says when, who, what and why; JSON also has the values before and after.
    The command does not verify the records: use `gatehouse audit verify`.

    Examples:

      eval "$(gatehouse local env)" && gatehouse audit log --since 24h

      gatehouse audit log --model granite-3.1-8b --kind ModelApproval -o json

      gatehouse audit log --kind GovernancePolicy --name high-risk -o json

    Exit codes: 0 success, 1 condition not met: no record matches, 2 error.
    """
    from gatehouse.actions.audit_trails import audited_registry, matching_records
    from gatehouse.actions.registry_rows import trails_of
    from gatehouse.cli.audit_output import print_log, record_wire
    from gatehouse.domain.audit.records import RecordUnreadable
    from gatehouse.printing.progress import counted
    from gatehouse.registry.address import DatabaseUrlError

    oldest = None if since is None else _time(since)
    asked = {"model": model, "version": version, "kind": kind, "name": name}
    having = {member: value for member, value in asked.items() if value}
    with exits(DatabaseUrlError, RecordUnreadable, OSError), trails_of(database, ca=database_ca) as trails:
        rows = trails.newest_first(audited_registry(trails, registry), having)
        with counted(rows, what="records checked") as counting:
            records: list[AuditRecord] = list(islice(matching_records(counting, having, oldest=oldest), limit))[::-1]
    if output == "json":
        print_data([record_wire(record) for record in records])
    else:
        print_log(stdout(), records)
    if not records:
        raise typer.Exit(NOT_MET)


@app.command()
def verify(
    database: AuditDatabaseOption,
    registry: RegistryOption = None,
    public_key: Annotated[
        Path | None,
        typer.Option(
            "--public-key",
            metavar="FILE",
            envvar="GATEHOUSE_AUDIT_PUBLIC_KEY",
            show_envvar=True,
            help="Public keys of the operator (PEM): the current key and the earlier ones.",
        ),
    ] = None,
    checkpoints: Annotated[
        str | None,
        typer.Option(
            "--checkpoints", metavar="DIR|URI", help="Copies of the checkpoints: a folder, or s3://bucket/prefix/."
        ),
    ] = None,
    endpoint: EndpointOption = None,
    region: RegionOption = None,
    ca: StoreCaOption = None,
    output: WrittenOutputOption = "text",
    database_ca: DatabaseCaOption = None,
) -> None:
    """Verify the audit trail.

    The command looks for records that were changed, removed, inserted, moved or cut off, and names the first bad
    position. Pass both the public key and copies of the checkpoints. A person who can write to the database can
    recompute every hash: only signatures reveal that. Only copies in another place reveal deleted checkpoints.

    Examples:

      gatehouse audit verify --public-key audit.pub --checkpoints s3://audit/gatehouse/

      GATEHOUSE_DATABASE_URL=sqlite:////var/lib/gatehouse/team.registry.db gatehouse audit verify -o json

    Exit codes: 0 success: the trail is whole, 1 condition not met: the trail is broken, 2 error.
    """
    from gatehouse.cli.audit_output import print_verdict, verdict_wire
    from gatehouse.domain.audit.checkpoints import AuditKeyError, CheckpointUnreadable
    from gatehouse.domain.audit.records import RecordUnreadable
    from gatehouse.registry.address import DatabaseUrlError
    from gatehouse.storage.port import StoreFlags

    with exits(DatabaseUrlError, AuditKeyError, CheckpointUnreadable, RecordUnreadable, OSError):
        verdict = _verdict(
            database,
            database_ca,
            registry=registry,
            public_key=public_key,
            checkpoints=checkpoints,
            store=StoreFlags(endpoint=endpoint, region=region, ca=ca),
        )
    notes = list(verdict.notes)
    if public_key is None:
        notes.append("signatures were not verified; pass --public-key")
    if checkpoints is None:
        notes.append("checkpoints come from the database alone; pass copies of them with --checkpoints")
    if output == "json":
        print_data(verdict_wire(verdict, notes))
    else:
        print_verdict(stdout(), verdict, notes)
    if not verdict.intact:
        raise typer.Exit(NOT_MET)


def _verdict(
    database: str,
    database_ca: Path | None,
    *,
    registry: str | None,
    public_key: Path | None,
    checkpoints: str | None,
    store: StoreFlags,
) -> Verdict:
    import asyncio

    from gatehouse.actions.audit_copies import read_copies
    from gatehouse.actions.audit_trails import audited_registry, read_keys, trail_verdict
    from gatehouse.actions.registry_rows import trails_of

    keys = None if public_key is None else read_keys(public_key)
    name = registry if registry and checkpoints else None
    if name is None:  # with copies, a trail that is missing altogether is a finding and no error
        with trails_of(database, ca=database_ca) as trails:
            name = audited_registry(trails, registry)
    # Copies come first: a copy is made after its checkpoint, so records that are read later have the checkpoint.
    copies = () if checkpoints is None else asyncio.run(read_copies(checkpoints, name, store=store))
    with trails_of(database, ca=database_ca) as trails:
        return trail_verdict(trails, name, keys=keys, copies=copies, counted=_counted)


def _counted(rows: Iterable[StoredRecord], total: int | None) -> AbstractContextManager[Iterator[StoredRecord]]:
    from gatehouse.printing.progress import counted

    return counted(rows, what="records verified", total=total)


def _time(text: str) -> datetime:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return datetime.now(UTC) - timedelta(seconds=seconds(text))
    return at if at.tzinfo else at.replace(tzinfo=UTC)
