"""When an artifact is verified, and the checks that run in the background."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Final, Generic, Protocol, TypeVar

from gatehouse.api.model_registry import ModelRegistry
from gatehouse.api.model_version import ModelVersion, ModelVersionSpec
from gatehouse.controllers.clients import Connections
from gatehouse.controllers.ports import RegistryRows, UtcClock
from gatehouse.controllers.verification.slots import CheckSlots
from gatehouse.controllers.verification.verifier import CheckRequest, CheckResult, Verifier
from gatehouse.domain.artifact.values import ArtifactRecord, CheckProgress
from gatehouse.domain.common.errors import ReconcileError, Transient
from gatehouse.domain.common.finding import Finding
from gatehouse.domain.common.locations import duration, locate, store_for
from gatehouse.domain.version.facts import Facts
from gatehouse.domain.version.lifecycle import check_due
from gatehouse.domain.version.records import FileRecord
from gatehouse.domain.version.schedule import asks_store, distrusted, owes_reading, reread_since

__all__ = [
    "FILES_READ",
    "PROGRESS_SECONDS",
    "CheckInterrupted",
    "Observation",
    "VerificationPool",
    "VerificationScheduler",
    "Wait",
]

SHOWN_DIFFERENCES: Final = 10
FILES_READ: Final = "the files read"
"""Expected of files that must be read."""

VersionKey = tuple[str, str]
"""Namespace and name."""


@dataclass(frozen=True, slots=True)
class Observation:
    """What is known of the artifact now.

    ``files`` are those of a check that just ended. ``rereading`` is how far files are read again while ``artifact``
    stands. ``error`` is the error that ended a check of files that differ from the verified ones.
    """

    artifact: ArtifactRecord | CheckProgress | None
    files: Sequence[FileRecord] | None = None
    rereading: CheckProgress | Finding | None = None
    error: ReconcileError | None = None


class VerificationScheduler:
    """Checks artifacts in the pool; after ``patience`` seconds it returns the progress of the check.

    ``hinted`` says whether the store announced a change of a version's files since the last call. An announcement makes
    the check of an artifact due that is not verified, and changes nothing else.
    """

    def __init__(
        self,
        *,
        connections: Connections,
        checks: VerificationPool[VersionKey],
        patience: float,
        hinted: Callable[[VersionKey], bool] = lambda _key: False,
    ) -> None:
        self._connections = connections
        self._checks = checks
        self._patience = patience
        self._hinted = hinted
        self._asked: dict[VersionKey, str | None] = {}

    async def observe(self, facts: Facts, rows: RegistryRows) -> Observation | None:
        """Checks the artifact; None when the row holds a recent check and no person asked for a new one.

        Raises the errors of the object store, and ``Transient`` while the store does not answer.
        """
        version, registry = facts.version, facts.registry
        if not isinstance(registry, ModelRegistry):
            raise TypeError("a version without a registry is not checked")
        hinted = self._hinted(_key(version)) and not _is_verified(facts.artifact)
        if _was_asked(version):
            self._reread_once(version, registry)
        elif not hinted and not self._due(facts):
            return None
        request = await self._request(facts, registry, rows)
        result = await self._checks.check(_key(version), request, patience=self._patience)
        if isinstance(result, CheckInterrupted):
            return _interrupted(facts, result.error)
        if isinstance(result, CheckProgress):
            if result.files == 0 and facts.artifact is not None and not result.differs:
                raise _silent(self._patience)
            if result.rereading and isinstance(facts.artifact, ArtifactRecord):
                return Observation(facts.artifact, rereading=result)
            return Observation(result)
        if result.files is not None and _is_other(result.record, facts.recorded_digest):
            # The rows keep the recorded files: they are the evidence, and show what changed.
            changed = _differences(request.known, result.files) if result.record.digest is not None else ()
            return Observation(replace(result.record, changed=changed))
        return Observation(result.record, result.files)

    async def forget(self, key: VersionKey) -> None:
        """Ends the check of a deleted version, if one runs."""
        self._asked.pop(key, None)
        self._hinted(key)
        await self._checks.cancel(key)

    def _reread_once(self, version: ModelVersion, registry: ModelRegistry) -> None:
        """Reads the Secrets again, once for each request: the person who asked may just have corrected a Secret.

        An outage keeps the request open. Reading a Secret again opens the database again, which enqueues every object
        that has lost its row.
        """
        if self._asked.get(_key(version)) != version.requested_at:
            self._asked[_key(version)] = version.requested_at
            self._connections.reread(registry)

    def _due(self, facts: Facts) -> bool:
        due = check_due(facts)
        return due is None or due <= facts.now or owes_reading(facts) or self._checks.running(_key(facts.version))

    async def _request(self, facts: Facts, registry: ModelRegistry, rows: RegistryRows) -> CheckRequest:
        spec = facts.version.spec
        store, location = store_for(registry, spec.artifact.uri), locate(spec.artifact.uri)
        if store is None:
            raise TypeError("a version outside every store of its registry is not checked")
        known = {} if facts.row is None else await rows.load_files(model=spec.model_ref.name, version=spec.version)
        recorded = facts.row is not None and facts.row.digest is not None
        save = partial(_save_confirmed, rows, spec, known) if recorded else partial(_save_files, rows, spec)
        return CheckRequest(
            store=await self._connections.bucket(registry, store, location.bucket),
            prefix=location.prefix,
            artifact_format=spec.artifact.format,
            content=registry.spec.verification.content,
            trust_store_checksums=asks_store(facts),
            distrusted=distrusted(facts),
            reread=reread_since(facts),
            relist=duration(registry.spec.verification.interval),
            previous=facts.row.artifact if facts.row else None,
            known=known,
            save=save,
        )


def _key(version: ModelVersion) -> VersionKey:
    return version.metadata.namespace, version.metadata.name


def _is_verified(artifact: ArtifactRecord | CheckProgress | None) -> bool:
    return isinstance(artifact, ArtifactRecord) and artifact.outcome == "Verified"


def _was_asked(version: ModelVersion) -> bool:
    return version.requested_at is not None and version.requested_at != version.status.last_handled_reconcile_at


def _interrupted(facts: Facts, error: ReconcileError) -> Observation:
    """The files differ from the verified ones. An error of reading them is no outage that could hide this."""
    if not isinstance(facts.artifact, ArtifactRecord):
        raise error
    return Observation(replace(facts.artifact, doubted=True), rereading=error.finding(expected=FILES_READ), error=error)


def _silent(seconds: float) -> Transient:
    """No difference from the row was found, so the row stands, as in any other outage."""
    return Transient(
        reason="StoreUnavailable",
        message=f"the object store has not answered within {seconds:g} s; the operator still waits for an answer",
        remedy="check the store, and the network between the store and the operator",
    )


def _is_other(record: ArtifactRecord, recorded: str | None) -> bool:
    return recorded is not None and record.digest != recorded


def _differences(recorded: Mapping[str, FileRecord], files: Sequence[FileRecord]) -> tuple[str, ...]:
    """The first few paths that were added, removed, or have other bytes."""
    now = {file.path: file.sha256 for file in files}
    before = {path: file.sha256 for path, file in recorded.items()}
    differing = sorted(path for path in now.keys() | before.keys() if now.get(path) != before.get(path))
    return tuple(differing[:SHOWN_DIFFERENCES])


async def _save_confirmed(
    rows: RegistryRows, spec: ModelVersionSpec, known: Mapping[str, FileRecord], files: Sequence[FileRecord]
) -> None:
    """Saves files that match their recorded rows: once a digest is recorded, rows only learn when they were read."""
    confirmed = [file for file in files if file.path in known and _same_bytes(known[file.path], file)]
    if confirmed:
        await _save_files(rows, spec, confirmed)


def _same_bytes(recorded: FileRecord, file: FileRecord) -> bool:
    return (recorded.size, recorded.sha256) == (file.size, file.sha256)


async def _save_files(rows: RegistryRows, spec: ModelVersionSpec, files: Sequence[FileRecord]) -> None:
    await rows.save_files(model=spec.model_ref.name, version=spec.version, files=files)


PROGRESS_SECONDS = 5.0
"""How often progress is reported, and files hashed so far are saved."""

_log = logging.getLogger(__name__)

K = TypeVar("K", bound=Hashable)


class Wait(Protocol):
    """Waits for a task at most ``seconds``; the task continues."""

    def __call__(self, task: asyncio.Task[Any], seconds: float, /) -> Awaitable[object]: ...


async def _wait(task: asyncio.Task[Any], seconds: float) -> None:
    await asyncio.wait({task}, timeout=seconds)


@dataclass(frozen=True, slots=True)
class CheckInterrupted:
    """A check that ended with an error after the store showed another listing than the verified one."""

    error: ReconcileError


@dataclass(slots=True)
class _Running:
    request: CheckRequest
    verification: Verifier
    task: asyncio.Task[CheckResult]
    watcher: asyncio.Task[None] | None = None
    unsaved: list[FileRecord] = field(default_factory=list)

    async def stop(self) -> None:
        tasks: list[asyncio.Task[Any]] = [self.task, *([self.watcher] if self.watcher else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class VerificationPool(Generic[K]):
    """Runs one check at a time for each key.

    ``on_progress`` is called with the key of a check that outlasted its caller's patience: when the check ends, and
    when it makes progress, at most every five seconds.
    """

    def __init__(
        self,
        *,
        clock: UtcClock,
        on_progress: Callable[[K], None],
        slots: CheckSlots | None = None,
        wait: Wait = _wait,
    ) -> None:
        self._clock = clock
        self._on_progress = on_progress
        self._slots = slots or CheckSlots()
        self._wait = wait
        self._running: dict[K, _Running] = {}

    async def check(
        self, key: K, request: CheckRequest, *, patience: float
    ) -> CheckResult | CheckProgress | CheckInterrupted:
        """The outcome, if it comes within ``patience`` seconds, or the progress of the check.

        The first call after the end returns the outcome and forgets it. A request that differs from the running one
        replaces it. Raises the check's error if the store showed no difference, and Transient (CheckStopped) if the
        check was cancelled meanwhile.
        """
        running = self._running.get(key)
        if running is not None and running.request != request:
            await self.cancel(key)
            running = None
        if running is None:
            running = self._running[key] = self._start(key, request)
        if not running.task.done():
            await self._wait(running.task, patience)
        if running.task.done():
            return self._take(key, running)
        if running.watcher is None:
            running.watcher = asyncio.create_task(self._watch(key, running), name=f"watch check of {key}")
        return running.verification.progress

    def running(self, key: K) -> bool:
        """Whether a check of the key runs, or has an outcome that no caller has taken yet."""
        return key in self._running

    def progress(self, key: K) -> CheckProgress | None:
        """The progress of the check of a key, if one runs."""
        running = self._running.get(key)
        return running.verification.progress if running is not None and not running.task.done() else None

    async def cancel(self, key: K) -> None:
        """Ends the check of a key, if one exists, and forgets its outcome."""
        running = self._running.pop(key, None)
        if running is not None:
            await running.stop()

    async def aclose(self) -> None:
        """Ends every check."""
        running = list(self._running.values())
        self._running.clear()
        await asyncio.gather(*(check.stop() for check in running))

    def _start(self, key: K, request: CheckRequest) -> _Running:
        verification = Verifier(request, clock=self._clock, slots=self._slots)
        task = asyncio.create_task(verification.run(), name=f"check of {key}")
        task.add_done_callback(_retrieve)
        return _Running(request, verification, task)

    def _take(self, key: K, running: _Running) -> CheckResult | CheckInterrupted:
        if self._running.get(key) is running:
            del self._running[key]
        if running.task.cancelled():
            raise Transient(reason="CheckStopped", message="the check was stopped before it came to an end")
        try:
            return running.task.result()
        except ReconcileError as error:
            if running.verification.progress.differs:
                return CheckInterrupted(error)
            raise

    async def _watch(self, key: K, running: _Running) -> None:
        reported = running.verification.progress
        while not running.task.done():
            await self._wait(running.task, PROGRESS_SECONDS)
            if not running.task.done():
                await _save(running)
            if running.task.done() or running.verification.progress != reported:
                reported = running.verification.progress
                self._on_progress(key)


async def _save(running: _Running) -> None:
    running.unsaved += running.verification.take_fresh()
    if not running.unsaved or running.request.save is None:
        return
    try:
        await running.request.save(tuple(running.unsaved))
    except Exception as error:  # noqa: BLE001 - the caller that waits must learn of the end of the check
        # The rows only save work of a later check, and the next round tries again.
        said = str(error) if isinstance(error, ReconcileError) else type(error).__name__
        _log.warning("files checked so far are not saved: %s", said)
    else:
        running.unsaved.clear()


def _retrieve(task: asyncio.Task[CheckResult]) -> None:
    """Keeps asyncio from reporting an error that no caller retrieved."""
    if not task.cancelled():
        task.exception()
