"""``gatehouse audit``: what changed and who changed it, and whether the trail of it is whole."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Annotated, Final, Literal, TypeVar

import typer
from botocore.exceptions import BotoCoreError

from gatehouse.actions.audit_copies import read_copies
from gatehouse.cli.audit_output import print_log, print_verdict, record_wire, verdict_wire
from gatehouse.cli.connection import NOT_READY, fail, fail_for
from gatehouse.cli.options import DatabaseCaOption, EndpointOption, RegionOption, StoreCaOption, seconds
from gatehouse.cli.registry_rows import trails_of
from gatehouse.domain.audit.chain import verify_chain
from gatehouse.domain.audit.checkpoints import AuditKeyError, Checkpoint, CheckpointUnreadable, PublicKeys
from gatehouse.domain.audit.records import AuditRecord, RecordUnreadable, StoredRecord, read_record
from gatehouse.domain.audit.trust import Verdict, trust
from gatehouse.domain.common.errors import ReconcileError
from gatehouse.printing import stdout
from gatehouse.printing.progress import counted
from gatehouse.registry.address import DatabaseUrlError
from gatehouse.registry.readers import Trails
from gatehouse.upload.access import StoreFlags
from gatehouse.upload.errors import PublishError

__all__ = ["app", "log", "verify"]

T = TypeVar("T")

_LARGEST_KEYS: Final = 64 * 1024

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="Read the audit trail of a registry, and check that nobody touched it. Reads the database alone.",
)

DatabaseOption = Annotated[
    str,
    typer.Option(
        "--database",
        metavar="URL",
        envvar="GATEHOUSE_DATABASE_URL",
        show_envvar=True,
        show_default=False,
        help="Database as SQLAlchemy writes it. With a password in it, rather set the variable: arguments can be seen.",
    ),
]
RegistryOption = Annotated[
    str | None,
    typer.Option("--registry", metavar="NAMESPACE/NAME", help="The registry; the only one when absent."),
]


@app.command()
def log(
    database: DatabaseOption,
    registry: RegistryOption = None,
    model: Annotated[str | None, typer.Option("--model", help="Only records about this model.")] = None,
    version: Annotated[str | None, typer.Option("--version", help="Only records about this version.")] = None,
    since: Annotated[
        str | None,
        typer.Option("--since", metavar="TIME", help="Not older, as in 24h, 2026-11-21 or 2026-11-21T08:00Z."),
    ] = None,
    kind: Annotated[
        str | None, typer.Option("--kind", help="Only about objects of this kind, as in ModelApproval.")
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", help="Only about the object of this name, such as a policy or an approval.")
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1_000_000, help="The newest so many.")] = 100,
    output: Annotated[Literal["table", "json"], typer.Option("-o", "--output", help="table or json.")] = "table",
    database_ca: DatabaseCaOption = None,
) -> None:
    """Print what changed, the newest last: when, who, what, why, and in JSON also before and after.

    It believes what is written there: `gatehouse audit verify` tells whether one may.

    Examples:

      eval "$(gatehouse local env)" && gatehouse audit log --since 24h

      gatehouse audit log --model granite-3.1-8b --kind ModelApproval -o json

      gatehouse audit log --kind GovernancePolicy --name high-risk -o json

    Exit codes: 0 printed, 1 there is none that fits, 2 an error.
    """
    oldest = None if since is None else _time(since)
    wanted = {"model": model, "version": version, "kind": kind, "name": name}
    having = {member: value for member, value in wanted.items() if value}

    def read(trails: Trails) -> list[AuditRecord]:
        of = _registry(trails, registry)
        with counted(trails.newest_first(of, having), what="records looked through") as rows:
            return list(islice(_fitting(rows, having, oldest), limit))[::-1]

    found = _guarded(lambda: _with_trails(database, database_ca, read))
    if output == "json":
        stdout().data([record_wire(record) for record in found])
    else:
        print_log(stdout(), found)
    if not found:
        raise typer.Exit(NOT_READY)


@app.command()
def verify(
    database: DatabaseOption,
    registry: RegistryOption = None,
    public_key: Annotated[
        Path | None,
        typer.Option(
            "--public-key",
            metavar="FILE",
            envvar="GATEHOUSE_AUDIT_PUBLIC_KEY",
            show_envvar=True,
            help="PEM of the operator's public key, and of those it had before.",
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
    output: Annotated[Literal["text", "json"], typer.Option("-o", "--output", help="text or json.")] = "text",
    database_ca: DatabaseCaOption = None,
) -> None:
    """Look for records that were changed, removed, inserted, moved or cut off, and name the first bad position.

    Hashes show a touch that was not hidden. Anybody who may write to the database can compute all of them anew; only
    signatures show that, and only copies out of reach show that the checkpoints were deleted too. So give both.

    Examples:

      gatehouse audit verify --public-key audit.pub --checkpoints s3://audit/gatehouse/

      GATEHOUSE_DATABASE_URL=sqlite:////var/lib/gatehouse/team.registry.db gatehouse audit verify -o json

    Exit codes: 0 the trail is whole, 1 it is not, and where, 2 an error.
    """
    flags = StoreFlags(endpoint=endpoint, region=region, ca=ca)

    def work() -> Verdict:
        keys = None if public_key is None else _keys(public_key)
        name = registry if registry and checkpoints else None
        if name is None:  # with copies a trail that is gone altogether is a finding, and no error
            name = _with_trails(database, database_ca, lambda trails: _registry(trails, registry))
        # Before the records: a copy is made after its checkpoint, which the records that are read later then have.
        copies = () if checkpoints is None else asyncio.run(read_copies(checkpoints, name, store=flags))
        return _with_trails(database, database_ca, lambda trails: _verdict(trails, name, keys=keys, copies=copies))

    verdict = _guarded(work)
    notes = list(verdict.notes)
    if public_key is None:
        notes.append("signatures were not checked; give --public-key")
    if checkpoints is None:
        notes.append("checkpoints were taken from the database alone; give their copies with --checkpoints")
    if output == "json":
        stdout().data(verdict_wire(verdict, notes))
    else:
        print_verdict(stdout(), verdict, notes)
    if not verdict.intact:
        raise typer.Exit(NOT_READY)


def _verdict(trails: Trails, name: str, *, keys: PublicKeys | None, copies: Sequence[Checkpoint]) -> Verdict:
    head = trails.head(name)
    trusted = trust(name, kept=trails.checkpoints(name), copies=copies, head=head, keys=keys)
    with counted(trails.records(name), what="records verified", total=head.seq if head else None) as rows:
        return verify_chain(rows, registry=name, head=head, trusted=trusted, keys=keys)


# The database


def _with_trails(url: str, ca: Path | None, work: Callable[[Trails], T]) -> T:
    with trails_of(url, ca=ca) as trails:
        return work(trails)


def _guarded(work: Callable[[], T]) -> T:
    try:
        return work()
    except ReconcileError as error:
        fail_for(error)
    except (
        DatabaseUrlError,
        AuditKeyError,
        CheckpointUnreadable,
        RecordUnreadable,
        PublishError,
        BotoCoreError,
        OSError,
    ) as error:
        fail(str(error))


def _registry(trails: Trails, wanted: str | None) -> str:
    known = trails.registries()
    if wanted is None and len(known) == 1:
        return known[0]
    if not known:
        fail("the database has no record of any registry yet; was it the right one?")
    if wanted is None:
        fail(f"the database has the trails of {', '.join(known)}; name one with --registry")
    if wanted not in known:
        fail(f"there is no trail of registry {wanted}; there are: {', '.join(known)}")
    return wanted


def _keys(file: Path) -> PublicKeys:
    with file.open("rb") as stream:
        pem = stream.read(_LARGEST_KEYS + 1)
    if len(pem) > _LARGEST_KEYS:
        fail(f"{file} is larger than {_LARGEST_KEYS} bytes, wanted public keys in PEM")
    return PublicKeys.from_pem(pem, where=str(file))


# Records


def _fitting(rows: Iterable[StoredRecord], having: dict[str, str], oldest: datetime | None) -> Iterator[AuditRecord]:
    for stored in rows:
        record = read_record(stored)
        fits = all(getattr(record.fact, name) == value for name, value in having.items())
        if fits and (oldest is None or record.fact.at >= oldest):
            yield record


def _time(text: str) -> datetime:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return datetime.now(UTC) - timedelta(seconds=seconds(text))
    return at if at.tzinfo else at.replace(tzinfo=UTC)
