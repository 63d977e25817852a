"""What the audit trail costs: appending beside the writing of rows, and verifying a million records."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import secrets
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any
from unittest import mock

from sqlalchemy import insert

from bench.figures import Count, Figure, Result, at_most
from gatehouse.domain.audit.chain import CHECKPOINT_EVERY, verify_chain
from gatehouse.domain.audit.checkpoints import Checkpoint
from gatehouse.domain.audit.records import AuditHead
from gatehouse.domain.audit.trust import trust
from gatehouse.printing.progress import ProgressReporter
from gatehouse.registry.address import Address, Credentials, DatabaseLimits, Target
from gatehouse.registry.connector import Connector
from gatehouse.registry.drivers import WRITES
from gatehouse.registry.pool import DatabasePool
from gatehouse.registry.readers import open_trails
from gatehouse.registry.tables import audit_checkpoints, audit_heads, audit_records
from gatehouse_local import ephemeral
from gatehouse_local.databases import LocalDatabase
from registrycontract import NOW, Counts, a_change, a_file, a_registry, a_version
from trails import KEYS, REGISTRY, SIGNER, a_fact, chained

__all__ = ["bench_audit"]

_PAIRS = 10
_FILES = 8


async def bench_audit(*, versions: int, records: int, progress: ProgressReporter) -> list[Result]:
    """On SQLite and on MariaDB: ``versions`` saved twice with and without a trail, ``records`` verified."""
    results = []
    with tempfile.TemporaryDirectory(prefix="gatehouse-bench-") as folder:
        home = Path(folder)
        results.append(await _append("sqlite", _Site(home), versions, progress))
        results.append(await _verify("sqlite", _Site(home / "verify"), records, progress))
        with ephemeral.mariadb() as database:
            site = _Site(home, database)
            results.append(await _append("mariadb", site, versions, progress))
            results.append(await _verify("mariadb", site, records, progress))
    return results


class _Site:
    """Where the rows are: a folder, or a server."""

    def __init__(self, home: Path, database: LocalDatabase | None = None) -> None:
        self.home = home
        self.database = database
        home.mkdir(parents=True, exist_ok=True)

    @property
    def password(self) -> str | None:
        return None if self.database is None else self.database.password

    def registry(self, name: str) -> Any:
        if self.database is None:
            return a_registry(name)
        server = self.database
        spec = {"host": server.host, "port": server.port, "database": server.database, "username": server.username}
        spec["tls"] = "Disabled"
        return a_registry(name, mysql=spec)

    def target(self) -> Target:
        server = self.database
        address = (
            Address(kind="sqlite", file=self.home / "registries.local.db")
            if server is None
            else Address(
                kind="mysql",
                host=server.host,
                port=server.port,
                database=server.database,
                username=server.username,
                tls=False,
            )
        )
        return Target(
            address=address, credentials=Credentials(self.password), limits=DatabaseLimits(), data_dir=self.home
        )


# Appending


async def _append(kind: str, site: _Site, versions: int, progress: ProgressReporter) -> Result:
    """Rounds with and without in turn: what else the machine does meets both, and the fastest of each count."""
    seconds: dict[bool, list[float]] = {True: [], False: []}
    processor: dict[bool, list[float]] = {True: [], False: []}
    written = Counts()
    with progress.step(f"saving {versions} versions twice with and without a trail, {_PAIRS} times on {kind}"):
        for number in range(2 * _PAIRS):
            trail = number % 4 in {0, 3}  # each goes first as often as the other
            counts = Counts()
            with contextlib.nullcontext() if trail else _without_trail():
                async with _rows(site, counts) as rows:
                    before = time.process_time()
                    seconds[trail].append(await _timed(rows, versions))
                    processor[trail].append(time.process_time() - before)
            if trail:
                written = counts
    with_trail, without = min(seconds[True]), min(seconds[False])
    return Result(
        bench=f"audit append on {kind}",
        figures=(
            Figure("version saves with a trail", 2 * versions / with_trail, "1/s"),
            Figure("version saves without", 2 * versions / without, "1/s"),
            Figure("cost of the trail", 100 * (1 - without / with_trail), "% of the rate", at_most(20)),
            Figure(
                "the same in CPU of this process", 100 * (1 - median(processor[False]) / median(processor[True])), "%"
            ),
        ),
        counts=(
            Count.exactly(
                "records for each save", written.rows["audit_records"] / (2 * versions), 1 + 1 / (2 * versions)
            ),
            Count("heads written for each transaction", written.rows["audit_heads"] / written.transactions, 0.5, 1),
        ),
        notes=(f"each save: a row, its history, {_FILES} files when new; the fastest of {_PAIRS} rounds of each",),
    )


@contextlib.asynccontextmanager
async def _rows(site: _Site, counts: Counts, name: str | None = None) -> AsyncIterator[Any]:
    name = name or f"bench-{secrets.token_hex(4)}"
    databases = DatabasePool(data_dir=site.home, now=lambda: NOW, metrics=counts)
    rows = await databases.open(site.registry(name), password=site.password, ca_pem=None)
    try:
        yield rows
    finally:
        await databases.aclose()


@contextlib.contextmanager
def _without_trail() -> Iterator[None]:
    with (
        mock.patch("gatehouse.registry.database.append_records"),
        mock.patch("gatehouse.registry.versions.version_fact", return_value=None),
    ):
        yield


async def _timed(rows: Any, versions: int) -> float:
    """Seconds for new rows, and for their way from Verifying to Ready to Deploy."""
    files = [a_file(f"model-{number:05d}-of-00008.safetensors") for number in range(_FILES)]
    started = time.perf_counter()
    ids = await asyncio.gather(
        *(
            rows.save_version(
                a_version(number, phase="Verifying", spec=_spec(number)),
                files=files,
                change=a_change(None, "Verifying"),
            )
            for number in range(versions)
        )
    )
    await asyncio.gather(
        *(
            rows.save_version(
                a_version(number, id=each.version_id, spec=_spec(number)), files=None, change=a_change("Verifying")
            )
            for number, each in enumerate(ids)
        )
    )
    return time.perf_counter() - started


def _spec(number: int) -> str:
    return f'{{"description":"{"d" * 600}","version":"v{number}"}}'


# Verifying


async def _verify(kind: str, site: _Site, records: int, progress: ProgressReporter) -> Result:
    with progress.step(f"writing {records} records into {kind}"):
        async with _rows(site, Counts(), name="local"):
            pass
        head, signed = _fill(site, records)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with progress.step(f"verifying {records} records in {kind}"), open_trails(site.target()) as trails:
        started = time.perf_counter()
        trusted = trust(REGISTRY, kept=trails.checkpoints(REGISTRY), head=trails.head(REGISTRY), keys=KEYS)
        verdict = verify_chain(
            trails.records(REGISTRY), registry=REGISTRY, head=trails.head(REGISTRY), trusted=trusted, keys=KEYS
        )
        seconds = time.perf_counter() - started
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    return Result(
        bench=f"audit verify on {kind}",
        figures=(
            Figure(f"verifying {records:,} records", seconds, "s", at_most(60)),
            Figure("for a million", seconds * 1e6 / records, "s", at_most(60)),
            Figure("memory it took more", grown, "MiB", at_most(100)),
        ),
        counts=(
            Count.exactly("records found intact", verdict.records if verdict.intact else 0, head.seq),
            Count.exactly("checkpoints that agree", verdict.checkpoints, signed),
        ),
    )


def _fill(site: _Site, records: int) -> tuple[AuditHead, int]:
    """Writes a chain straight into the tables."""
    connector = Connector(site.target())
    signed: list[Checkpoint] = []
    facts = (a_fact(number) for number in range(1, records + 1))
    head = AuditHead(0, "")
    with connector.engine.connect() as plain:
        connection = plain.execution_options(**{WRITES: True})
        rows = chained(facts)
        while some := list(islice(rows, CHECKPOINT_EVERY)):
            with connection.begin():
                connection.execute(insert(audit_records), [{"registry": REGISTRY, **row._asdict()} for row in some])
            head = AuditHead(some[-1].seq, some[-1].hash)
            signed.append(SIGNER.checkpoint(REGISTRY, head, at=NOW, previous=signed[-1] if signed else None))
        with connection.begin():
            fields = ("registry", "seq", "hash", "at", "key_id", "previous_seq", "previous_hash", "signature")
            connection.execute(
                insert(audit_checkpoints), [{field: getattr(each, field) for field in fields} for each in signed]
            )
            connection.execute(
                insert(audit_heads), {"registry": REGISTRY, "seq": head.seq, "hash": head.hash, "checkpoint": head.seq}
            )
    connector.engine.dispose()
    return head, len(signed)
