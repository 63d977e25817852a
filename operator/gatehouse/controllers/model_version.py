"""ModelVersion: gather the facts, decide, apply the difference.

``gather`` reads the objects that the version names from the cache, its row from the registry (reads of many versions
are grouped), and the artifact from the store when the row does not say that it was looked at lately. ``decide`` is
pure. ``apply`` writes the row with its history, then the template, then (in the runner) the status: whoever sees Ready
finds everything that it promises.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import Any, Final

import orjson

from gatehouse.api.model_approval import ModelApproval
from gatehouse.api.model_evaluation import ModelEvaluation
from gatehouse.api.model_registry import ModelRegistry
from gatehouse.api.model_version import ModelVersion, ModelVersionSpec, ModelVersionStatus, TemplateStatus
from gatehouse.controllers.connections import Connections
from gatehouse.controllers.objects import Objects
from gatehouse.controllers.ports import Clock, ClusterWriter, ObjectName, RegistryRows
from gatehouse.controllers.retirement import retire
from gatehouse.controllers.runner import Result, after_error
from gatehouse.controllers.services import ServiceSweep
from gatehouse.controllers.serving_input import serving_input
from gatehouse.controllers.templates import TemplateSweep
from gatehouse.controllers.verification import CheckRequest
from gatehouse.controllers.verification_pool import VerificationPool
from gatehouse.domain.access import duration, locate, store_for
from gatehouse.domain.artifact import ArtifactRecord, CheckProgress, Problem
from gatehouse.domain.errors import ReconcileError, Stalled, Transient, Waiting
from gatehouse.domain.facts import Facts, Unmet
from gatehouse.domain.gates import recorded_digest
from gatehouse.domain.lifecycle import Decision, decide, look_again, wants_artifact
from gatehouse.domain.memory import is_lost, known_ids
from gatehouse.domain.outcome import Requeue, requeue_after_error
from gatehouse.domain.records import FileRecord, VersionIds
from gatehouse.domain.serving import render
from gatehouse.domain.serving_names import config_map_name
from gatehouse.domain.serving_text import TemplateWriter
from gatehouse.domain.status import version_status

__all__ = ["ModelVersionController"]

VERSIONS: Final = ModelVersion.info.plural
SHOWN_DIFFERENCES: Final = 10
REFUSED_AGAIN: Final = timedelta(seconds=10)
"""Credentials that were read so lately are not read again because one more version was refused with them."""


@dataclass(frozen=True, slots=True)
class _Gathered:
    """The facts, and what they were read from. ``files`` are those of a check that just ended."""

    facts: Facts
    rows: RegistryRows | None = None
    files: Sequence[FileRecord] | None = None


class ModelVersionController:
    """Reconciles ModelVersions."""

    kind = ModelVersion

    def __init__(
        self,
        *,
        objects: Objects,
        connections: Connections,
        checks: VerificationPool[tuple[str, str]],
        writer: ClusterWriter,
        templates: TemplateWriter,
        sweep: TemplateSweep,
        services: ServiceSweep,
        clock: Clock,
        patience: float,
    ) -> None:
        self._objects = objects
        self._connections = connections
        self._checks = checks
        self._writer = writer
        self._templates = templates
        self._sweep = sweep
        self._services = services
        self._clock = clock
        self._patience = patience
        self._asked: dict[tuple[str, str], str | None] = {}

    async def reconcile(self, resource: ModelVersion, body: Mapping[str, Any]) -> Result:
        """Raises what the database and the API server raise; what the store raises leaves the row's word standing."""
        gathered = await self._gather(resource, body)
        if wants_artifact(gathered.facts) and gathered.rows is not None:
            try:
                gathered = await self._look(gathered, gathered.rows)
            except ReconcileError as error:
                return await self._after_store_error(gathered, error)
        if is_lost(gathered.facts) and isinstance(gathered.facts.artifact, CheckProgress):
            return self._while_rebuilt(gathered.facts, gathered.facts.artifact)
        decision = decide(gathered.facts)
        return await self._apply(gathered, decision)

    async def gone(self, namespace: str, name: str) -> None:
        """Ends a running check and archives the row."""
        self._asked.pop((namespace, name), None)
        await self._checks.cancel((namespace, name))
        await retire(
            "version", namespace, name, objects=self._objects, connections=self._connections, now=self._clock.now()
        )

    def outage(self, resource: ModelVersion) -> ModelVersionStatus:
        """What was established; a version that nothing is known of is still to be verified."""
        status = resource.status
        return status if status.phase is not None else status.model_copy(update={"phase": "Verifying"})

    def grace(self, resource: ModelVersion) -> timedelta:
        """The grace of the version's registry."""
        registry = self._objects.registry_of(self._objects.model_of(resource))
        return duration(registry.spec.verification.grace) if isinstance(registry, ModelRegistry) else timedelta(0)

    # gather

    async def _gather(self, version: ModelVersion, body: Mapping[str, Any]) -> _Gathered:
        model = self._objects.model_of(version)
        registry = self._objects.registry_of_version(version, model)
        policies = self._objects.policies()
        facts = Facts(
            now=self._clock.now(),
            version=version,
            spec_json=orjson.dumps(body["spec"], option=orjson.OPT_SORT_KEYS).decode(),
            model=model,
            registry=registry,
            profile=self._objects.profile_of(version),
            policies=self._objects.applying(policies, model),
            policy_names=frozenset(each.name for each in policies),
            approvals=self._objects.about(ModelApproval, version),
            evaluations=self._objects.about(ModelEvaluation, version),
            deployed_to=tuple(self._services.deployed_to(version)),
        )
        if isinstance(registry, Unmet):
            return _Gathered(facts)
        rows = await self._connections.rows(registry)
        row = await rows.load_version(model=version.spec.model_ref.name, version=version.spec.version)
        if row is None:
            return _Gathered(facts, rows)
        holder = self._objects.reader.revision(VERSIONS, row.namespace, row.object_name)
        return _Gathered(replace(facts, row=row, holder_exists=holder is not None, artifact=row.artifact), rows)

    async def _look(self, gathered: _Gathered, rows: RegistryRows) -> _Gathered:
        """Looks at the artifact, unless the row says that it was looked at lately and nobody asked."""
        facts = gathered.facts
        version, registry = facts.version, facts.registry
        assert isinstance(registry, ModelRegistry)  # noqa: S101 - wants_artifact has told
        if _was_asked(version):
            self._reread_once(version, registry)
        elif not self._due(facts):
            return gathered
        request = await self._request(facts, registry, rows)
        key = (version.metadata.namespace, version.metadata.name)
        found = await self._checks.check(key, request, patience=self._patience)
        if isinstance(found, CheckProgress):
            if found.files == 0 and facts.artifact is not None:
                raise _silent(self._patience)
            return replace(gathered, facts=replace(facts, artifact=found))
        if found.files is not None and _is_other(found.record, recorded_digest(facts)):
            # The rows keep the files that were recorded: they are the evidence, and tell what changed.
            changed = _differences(request.known, found.files) if found.record.outcome == "Verified" else ()
            return replace(gathered, facts=replace(facts, artifact=replace(found.record, changed=changed)))
        return replace(gathered, facts=replace(facts, artifact=found.record), files=found.files)

    def _reread_once(self, version: ModelVersion, registry: ModelRegistry) -> None:
        """Whoever asks may just have mended a Secret. While an outage keeps the request open, that is said once.

        To read a Secret again is to open the database again, which looks at every object that has lost its row.
        """
        key = (version.metadata.namespace, version.metadata.name)
        if self._asked.get(key) != version.requested_at:
            self._asked[key] = version.requested_at
            self._connections.reread(registry)

    def _due(self, facts: Facts) -> bool:
        key = (facts.version.metadata.namespace, facts.version.metadata.name)
        due = look_again(facts)
        return due is None or due <= facts.now or self._checks.running(key)

    async def _request(self, facts: Facts, registry: ModelRegistry, rows: RegistryRows) -> CheckRequest:
        spec = facts.version.spec
        store, location = store_for(registry, spec.artifact.uri), locate(spec.artifact.uri)
        if store is None:
            raise TypeError("a version outside every store of its registry is not looked at")
        known = {} if facts.row is None else await rows.load_files(model=spec.model_ref.name, version=spec.version)
        return CheckRequest(
            store=await self._connections.bucket(registry, store, location.bucket),
            prefix=location.prefix,
            artifact_format=spec.artifact.format,
            content=registry.spec.verification.content,
            trust_store_checksums=registry.spec.verification.trust_store_checksums,
            previous=facts.row.artifact if facts.row else None,
            known=known,
            save=None if facts.row and facts.row.digest else partial(_save_files, rows, spec),
        )

    # apply

    async def _apply(self, gathered: _Gathered, decision: Decision) -> Result:
        """The template needs the ids of the rows; once there are some it comes first, so that no row promises it."""
        facts = gathered.facts
        known = _known_ids(facts, decision)
        ids = known or await self._save(gathered, decision)
        try:
            template = await self._emit(facts, decision, ids)
        except Stalled as error:
            return await self._apply_refused(gathered, decision, ids, error)
        if known is not None:
            await self._save(gathered, decision)
        status = version_status(
            facts, decision, registry_id=ids.version_id if ids else None, template=template, now=facts.now
        )
        after = None if decision.look_again is None else (decision.look_again - facts.now).total_seconds()
        return Result(status=status, requeue=Requeue(after=None if after is None else max(after, 1.0)))

    async def _apply_refused(
        self, gathered: _Gathered, decision: Decision, ids: VersionIds | None, error: Stalled
    ) -> Result:
        """The cluster does not take the template: that is a fact like others, and shuts its gate."""
        facts, saved = gathered.facts, _known_ids(gathered.facts, decision) is None
        row = facts.row
        if saved and decision.record is not None and ids is not None:
            row = replace(decision.record, id=ids.version_id, model_id=ids.model_id)
        problem = Problem(rule=error.reason, found=error.message, wanted="a serving template", remedy=error.remedy)
        refused = replace(
            gathered,
            facts=replace(facts, row=row, template_problem=problem),
            files=None if saved else gathered.files,
        )
        result = await self._apply(refused, decide(refused.facts))
        return replace(result, requeue=requeue_after_error(error))

    async def _save(self, gathered: _Gathered, decision: Decision) -> VersionIds | None:
        row, record = gathered.facts.row, decision.record
        if record is None or gathered.rows is None:
            return None
        if record == row and gathered.files is None and row.id is not None and row.model_id is not None:
            return VersionIds(row.model_id, row.id)
        return await gathered.rows.save_version(
            record,
            files=gathered.files,
            change=decision.change,
            known=known_ids(gathered.facts),
            facts=decision.facts,
        )

    async def _emit(self, facts: Facts, decision: Decision, ids: VersionIds | None) -> TemplateStatus | None:
        """Puts the template in place, or takes it away from a version that is not ready any more."""
        version = facts.version
        name = ObjectName(version.metadata.namespace, version.metadata.name)
        emitted = version.status.template
        if not decision.ready or ids is None:
            if emitted is not None:
                await self._writer.delete_config_map(
                    version.metadata.namespace, emitted.name, owner_uid=version.metadata.uid
                )
            self._sweep.written(name)
            return None
        template = render(serving_input(facts, decision, ids))
        wanted = TemplateStatus(name=config_map_name(version.metadata.name), digest=template.digest)
        if wanted != emitted or self._sweep.is_lost(name):
            config_map = self._templates.config_map(template, owner=version.metadata)
            await self._writer.put_config_map(version.metadata.namespace, config_map)
            self._sweep.written(name)
        return wanted

    def _while_rebuilt(self, facts: Facts, progress: CheckProgress) -> Result:
        """That a database lost the row says nothing about the artifact: what was established holds, for the grace."""
        lost = Transient(
            reason="RowLost",
            message=f"the database has lost the row; it is made again when the artifact is hashed "
            f"({progress.files_done} of {progress.files} files)",
        )
        return after_error(self, facts.version, lost, clock=self._clock)

    async def _after_store_error(self, gathered: _Gathered, error: ReconcileError) -> Result:
        facts = gathered.facts
        if isinstance(facts.registry, ModelRegistry) and isinstance(error, Waiting):
            self._connections.reread(facts.registry, older_than=REFUSED_AGAIN)
        verified_at = facts.row.artifact.verified_at if facts.row and facts.row.artifact else None
        version = await self._registered(gathered) if _is_unknown(facts) else facts.version
        return after_error(self, version, error, clock=self._clock, verified_at=verified_at)

    async def _registered(self, gathered: _Gathered) -> ModelVersion:
        """The version with what can be said of it without its artifact: it is registered all the same."""
        facts, decision = gathered.facts, decide(gathered.facts)
        ids = await self._save(gathered, decision)
        status = version_status(
            facts, decision, registry_id=ids.version_id if ids else None, template=None, now=facts.now
        )
        # What somebody asked for is a look at the artifact, and that is still owed.
        asked = {"last_handled_reconcile_at": facts.version.status.last_handled_reconcile_at}
        return facts.version.model_copy(update={"status": status.model_copy(update=asked)})


def _known_ids(facts: Facts, decision: Decision) -> VersionIds | None:
    """The ids of the row that the decision goes into, if there is one already."""
    row = facts.row
    if decision.record is None or row is None or row.id is None or row.model_id is None:
        return None
    return VersionIds(row.model_id, row.id)


def _was_asked(version: ModelVersion) -> bool:
    return version.requested_at is not None and version.requested_at != version.status.last_handled_reconcile_at


def _is_unknown(facts: Facts) -> bool:
    """Whether nothing was established yet, neither in this registry nor in another that kept the version before."""
    return facts.artifact is None and known_ids(facts).version is None and facts.version.status.template is None


def _silent(seconds: float) -> Transient:
    """Nothing was found to differ from what the row says, so its word stands, as in any other outage."""
    return Transient(
        reason="StoreUnavailable",
        message=f"the object store has not answered within {seconds:g} s; it is still being asked",
        remedy="look at the store, and at the network between it and the operator",
    )


def _is_other(record: ArtifactRecord, recorded: str | None) -> bool:
    return recorded is not None and record.digest != recorded


def _differences(recorded: Mapping[str, FileRecord], found: Sequence[FileRecord]) -> tuple[str, ...]:
    """The first few paths that were added, removed, or have other bytes."""
    now = {file.path: file.sha256 for file in found}
    before = {path: file.sha256 for path, file in recorded.items()}
    differing = sorted(path for path in now.keys() | before.keys() if now.get(path) != before.get(path))
    return tuple(differing[:SHOWN_DIFFERENCES])


async def _save_files(rows: RegistryRows, spec: ModelVersionSpec, files: Sequence[FileRecord]) -> None:
    await rows.save_files(model=spec.model_ref.name, version=spec.version, files=files)
