"""Keeps mirrors in step: Kubeflow Model Registries that get a copy of each model, version and artifact.

A pass reads the entries that changed since the last complete pass, page by page, and writes what differs. A new process
begins with a pass over all entries, which writes nothing where the rows say that the mirror has everything. A mirror
that is down is tried again with backoff, and then continues where it stopped: nothing is queued but the rows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

import structlog

from gatehouse.api.model_registry import Mirror, ModelRegistry
from gatehouse.controllers.clients import Connections
from gatehouse.controllers.lookup import Objects
from gatehouse.controllers.ports import MirrorClient, MirrorFactory, ObjectName, RegistryRows, UtcClock
from gatehouse.controllers.registry_sweep import RegistrySweep, RegistryTroubles
from gatehouse.domain.common.conditions import ConditionState
from gatehouse.domain.common.errors import ReconcileError, Stalled
from gatehouse.domain.entries.artifact_uris import outward
from gatehouse.domain.entries.mirroring import (
    MIRRORED_KINDS,
    CopyLost,
    CopyRefused,
    CreateCopy,
    EntryKey,
    Mirrored,
    UpdateCopy,
    decide,
    mirrored_form,
)
from gatehouse.domain.query.pages import Position

__all__ = ["MIRRORS_IN_STEP", "MIRROR_INTERVAL", "MirrorKeeper", "MirrorStates"]

MIRRORS_IN_STEP: Final = "MirrorsInStep"
"""Condition of a ModelRegistry that has mirrors."""
MIRROR_INTERVAL: Final = 2.0
"""Seconds between two looks at which passes are due."""
PASS_INTERVAL: Final = timedelta(seconds=5)
FULL_INTERVAL: Final = timedelta(hours=1)
"""A pass over all entries also tries again what a mirror did not accept."""
OVERLAP: Final = timedelta(seconds=30)
"""Servers write rows by their own clocks, so that a row may show an earlier change than the newest one."""
PAGE: Final = 200
MOST_WRITES: Final = 200
"""Writes of one turn of one mirror; the next turn continues."""
FIRST_RETRY: Final = timedelta(seconds=5)
LAST_RETRY: Final = timedelta(minutes=5)
WORK: Final = "mirrors"

_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Standing:
    """How far a mirror is. ``stage`` counts the kinds of this pass, parents first; ``after`` is a place among them."""

    due: datetime
    full_due: datetime
    since: datetime | None = None
    newest: datetime | None = None
    stage: int = 0
    after: Position | None = None
    failures: int = 0
    refused: dict[EntryKey, str] = field(default_factory=dict)

    def restart(self, *, since: datetime | None) -> None:
        """Begins the next pass."""
        self.since, self.newest, self.stage, self.after = since, since, 0, None


class MirrorStates:
    """What the ModelRegistries say of their mirrors. ``changed`` is called with a registry whose words changed."""

    def __init__(self, *, changed: Callable[[ObjectName], None]) -> None:
        self._changed = changed
        self._states: dict[ObjectName, dict[str, ConditionState]] = {}

    def said(self, registry: ObjectName, url: str, state: ConditionState) -> None:
        """Records the state of a mirror."""
        states = self._states.setdefault(registry, {})
        if states.get(url) != state:
            states[url] = state
            self._changed(registry)

    def of(self, registry: ModelRegistry) -> Iterator[ConditionState]:
        """One condition for all mirrors; none for a registry without mirrors."""
        urls = [mirror.url for mirror in registry.spec.mirrors]
        name = ObjectName(registry.metadata.namespace, registry.metadata.name)
        if not urls:
            self._states.pop(name, None)
            return
        states = self._states.get(name, {})
        known = [states.get(url) or _state("Unknown", "Copying", f"{url}: not compared yet") for url in urls]
        worst = next((state for state in known if state.status == "False"), None)
        worst = worst or next((state for state in known if state.status == "Unknown"), known[0])
        message = "; ".join(state.message for state in known if state.status == worst.status)
        yield _state(worst.status, worst.reason, message)


class MirrorKeeper:
    """The operator calls :meth:`sweep` at short intervals; most calls read nothing."""

    def __init__(
        self,
        *,
        objects: Objects,
        connections: Connections,
        open_mirror: MirrorFactory,
        states: MirrorStates,
        clock: UtcClock,
        troubles: RegistryTroubles,
    ) -> None:
        self._connections = connections
        self._open = open_mirror
        self._states = states
        self._clock = clock
        self._each = RegistrySweep(
            work=WORK,
            reason="MirroringFailed",
            doing="mirrors are not in step: writing copies of entries",
            objects=objects,
            troubles=troubles,
        )
        self._standings: dict[tuple[ObjectName, str], _Standing] = {}

    async def sweep(self) -> None:
        """One turn of each mirror that is due."""
        await self._each.run(self._check)

    async def _check(self, registry: ModelRegistry, _body: Mapping[str, Any]) -> bool:
        name = ObjectName(registry.metadata.namespace, registry.metadata.name)
        urls = {mirror.url for mirror in registry.spec.mirrors}
        for key in [key for key in self._standings if key[0] == name and key[1] not in urls]:
            del self._standings[key]
        done = False
        for mirror in registry.spec.mirrors:
            now = self._clock.now()
            standing = self._standings.setdefault((name, mirror.url), _Standing(now, now + FULL_INTERVAL))
            # A time further ahead was set before the machine's clock was set back.
            if now < standing.due <= now + LAST_RETRY:
                continue
            done = True
            standing.due = now + LAST_RETRY
            await self._turn(registry, name, mirror, standing)
        return done

    async def _turn(self, registry: ModelRegistry, name: ObjectName, mirror: Mirror, standing: _Standing) -> None:
        """Continues the pass of one mirror, and records how it is."""
        try:
            complete = await self._continue(registry, mirror, standing)
        except Stalled:
            raise
        except ReconcileError as error:
            standing.due = self._clock.now() + min(FIRST_RETRY * 2 ** min(standing.failures, 10), LAST_RETRY)
            standing.failures += 1
            _log.warning("mirror not in step", registry="/".join(name), mirror=mirror.url, reason=error.reason)
            self._states.said(name, mirror.url, _state("False", error.reason, f"{mirror.url}: {error.advice}"))
            return
        standing.failures = 0
        now = self._clock.now()
        if not complete:
            standing.due = now
            if standing.since is None:
                self._states.said(name, mirror.url, _state("Unknown", "Copying", f"{mirror.url}: copying every entry"))
            return
        standing.due = now + PASS_INTERVAL
        if not now < standing.full_due <= now + FULL_INTERVAL:
            standing.full_due = now + FULL_INTERVAL
            standing.refused.clear()
            standing.restart(since=None)
        else:
            standing.restart(since=None if standing.newest is None else standing.newest - OVERLAP)
        self._states.said(name, mirror.url, _in_step(mirror.url, standing))

    async def _continue(self, registry: ModelRegistry, mirror: Mirror, standing: _Standing) -> bool:
        """Reads and writes until the pass is complete or the turn has made its writes; returns which of the two."""
        _refuse_clear_text(mirror)
        rows = await self._connections.rows(registry)
        mirror_id = hashlib.sha256(mirror.url.rstrip("/").encode()).hexdigest()
        write_uri, left = outward(registry), MOST_WRITES
        client: MirrorClient | None = None
        async with AsyncExitStack() as stack:
            while standing.stage < len(MIRRORED_KINDS):
                entries, after = await rows.changed_entries(
                    MIRRORED_KINDS[standing.stage], since=standing.since, after=standing.after, limit=PAGE
                )
                forms = [mirrored_form(entry, outward=write_uri) for entry in entries]
                keys = [key for form in forms for key in (form.key, form.parent) if key is not None]
                mirrored = await rows.mirrored(mirror_id, keys)
                writes = decide(forms, mirrored=mirrored, refused=standing.refused)
                try:
                    for write in writes[:left]:
                        if client is None:  # a mirror that has everything costs no connection
                            client = await stack.enter_async_context(await self._opened(registry, mirror))
                        await _written(client, rows, mirror_id, write, standing)
                except CopyLost:
                    # Registries delete nothing, so this is another database than before: nothing is known of it.
                    _log.warning("mirror has lost entries; all are written again", mirror=mirror.url)
                    await rows.forget_mirror(mirror_id)
                    standing.restart(since=None)
                    return False
                if len(writes) > left:
                    return False
                left -= len(writes)
                standing.newest = max((entry.updated_at for entry in entries), default=standing.newest)
                standing.after = after
                if after is None:
                    standing.stage += 1
        return True

    async def _opened(self, registry: ModelRegistry, mirror: Mirror) -> AbstractAsyncContextManager[MirrorClient]:
        """The mirror, with the Secrets as they are now."""
        token = None if mirror.token_secret is None else await self._connections.secret(registry, mirror.token_secret)
        ca_pem = None if mirror.ca_secret is None else await self._connections.secret(registry, mirror.ca_secret)
        return self._open(mirror.url, token=token, ca_pem=ca_pem)


async def _written(
    client: MirrorClient, rows: RegistryRows, mirror: str, write: CreateCopy | UpdateCopy, standing: _Standing
) -> None:
    """Makes one write and keeps its result. An entry that is not accepted affects no other. Raises CopyLost."""
    form = write.form
    try:
        if isinstance(write, CreateCopy):
            created = await client.create(write)
            remote_id = created or await client.find(write)
            if created is None:
                # Known before it is updated: it may have been created just before this process, or another one, ended.
                await rows.save_mirrored(mirror, form.key, Mirrored(remote_id, ""))
                await client.update(UpdateCopy(form, remote_id))
        else:
            remote_id = write.remote_id
            await client.update(write)
    except CopyRefused as error:
        standing.refused[form.key] = form.fingerprint
        _log.warning("mirror does not accept an entry", kind=form.key.kind, id=form.key.id, status=error.status)
        return
    standing.refused.pop(form.key, None)
    await rows.save_mirrored(mirror, form.key, Mirrored(remote_id, form.fingerprint))


def _in_step(url: str, standing: _Standing) -> ConditionState:
    if not standing.refused:
        return _state("True", "InStep", f"{url} has every entry")
    kind, id_ = min(standing.refused)
    return _state(
        "False",
        "EntriesRefused",
        f"{url} does not accept {len(standing.refused)} entries, such as {kind.replace('_', ' ')} {id_}; the operator "
        "logs the status of each answer",
    )


def _refuse_clear_text(mirror: Mirror) -> None:
    """The CRD has the same rule, but objects from before that rule may break it."""
    if mirror.tls != "Disabled" and mirror.url.startswith("http://"):
        raise Stalled(
            reason="ClearTextRefused",
            message=f"the mirror is {mirror.url}; expected: https, or tls: Disabled",
            remedy="Name a URL with https, or set tls: Disabled where no one else can use the network.",
        )


def _state(status: Any, reason: str, message: str) -> ConditionState:
    return ConditionState(MIRRORS_IN_STEP, status, reason, message)
