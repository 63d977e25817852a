"""ModelVersion: gather the facts, decide, apply the difference.

``gather`` reads the objects that the version names from the cache, and its row from the registry (reads of many
versions are grouped). ``observe`` verifies the artifact in the store when the row says that a check is due; an error of
the store is a fact like others. ``decide`` is pure. ``apply`` writes the row with its history, then the template, then
(in the reconciler) the status: a client that sees Ready finds everything that the status promises.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final

import orjson

from gatehouse.api.governance_policy import GovernancePolicy
from gatehouse.api.hardware_profile import HardwareProfile
from gatehouse.api.model_approval import ModelApproval
from gatehouse.api.model_evaluation import ModelEvaluation
from gatehouse.api.model_registry import ModelRegistry
from gatehouse.api.model_version import ModelVersion, ModelVersionStatus, TemplateStatus
from gatehouse.api.registered_model import RegisteredModel
from gatehouse.api.wire import WireDecision, WireModel, WireObject, WireRegistry, WireVersion
from gatehouse.controllers.clients import Connections
from gatehouse.controllers.declaration import SUMMARY_SETTLE, Declaration, Right, Trigger, resource_of
from gatehouse.controllers.dependencies import Dependencies
from gatehouse.controllers.indexes import (
    BY_CLAIM,
    BY_DEPLOYED,
    BY_DIGEST,
    BY_MODEL,
    BY_NAMESPACE,
    BY_PHASE,
    BY_POLICY,
    BY_PROFILE,
    BY_REFUSED_AT,
    BY_REFUSED_DIGEST,
    BY_REGISTERED,
    BY_SERVED,
    BY_STANDING,
    BY_STATUS,
    BY_UNCLEARED,
    RUNNING,
    claim_key,
    labels_part,
    model_key,
    namespace_of,
    outcome_part,
    phase_key,
    policy_key,
    registered_key,
    spec_part,
)
from gatehouse.controllers.inference_services import (
    INFERENCE_SERVICES,
    Services,
    run_by_service,
    run_in_namespace,
    service_part,
    shown_as_running,
)
from gatehouse.controllers.lookup import Objects
from gatehouse.controllers.model_registry import registry_part
from gatehouse.controllers.observed import NAMESPACES, Withdrawals
from gatehouse.controllers.ports import ClusterWriter, ObjectName, RegistryRows, UtcClock
from gatehouse.controllers.reconciler import Result
from gatehouse.controllers.registered_model import models_of_registry
from gatehouse.controllers.rivals import Rivalries, Rivals
from gatehouse.controllers.rows import retire
from gatehouse.controllers.running_pods import PodSweep
from gatehouse.controllers.templates import TemplateSweep, serving_input
from gatehouse.controllers.verification.scheduler import FILES_READ, VerificationScheduler
from gatehouse.domain.admission.contest import folders_above, standing_of
from gatehouse.domain.artifact.values import ArtifactRecord
from gatehouse.domain.common.errors import ReconcileError, Stalled, Waiting
from gatehouse.domain.common.locations import duration, folder_of
from gatehouse.domain.governance.held import Held
from gatehouse.domain.serving.names import config_map_name
from gatehouse.domain.serving.template import TemplateWriter, render
from gatehouse.domain.version.decision_record import known_holding
from gatehouse.domain.version.facts import Facts, Unmet
from gatehouse.domain.version.lifecycle import Decision, decide, nothing_known
from gatehouse.domain.version.outcome import Requeue, requeue_after_error
from gatehouse.domain.version.records import FileRecord, VersionIds, VersionRecord
from gatehouse.domain.version.schedule import must_be_read, owes_reading
from gatehouse.domain.version.shown import owes_write
from gatehouse.domain.version.status import version_status
from gatehouse.runtime.cache import Caches
from gatehouse.runtime.controller import Reconcile
from gatehouse.runtime.refs import ObjectKey

__all__ = ["DECLARATION", "ModelVersionController"]

VERSIONS: Final = ModelVersion.info.plural
SERVICE_SETTLE: Final = 0.2
"""Seconds without a change of any service, after which the versions that services run are reconciled."""
REFUSED_AGAIN: Final = timedelta(seconds=10)
"""The least time between two reads of rejected credentials, however many versions were rejected with them."""


@dataclass(frozen=True, slots=True)
class _Gathered:
    """The facts, and the rows that they were read from. ``files`` are those of a check that just ended."""

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
        scheduler: VerificationScheduler,
        writer: ClusterWriter,
        templates: TemplateWriter,
        sweep: TemplateSweep,
        services: Services,
        pods: PodSweep,
        withdrawals: Withdrawals,
        clock: UtcClock,
    ) -> None:
        self._objects = objects
        self._rivals = Rivals(objects)
        self._connections = connections
        self._scheduler = scheduler
        self._writer = writer
        self._templates = templates
        self._sweep = sweep
        self._services = services
        self._pods = pods
        self._withdrawals = withdrawals
        self._clock = clock

    async def reconcile(self, resource: ModelVersion, body: Mapping[str, Any]) -> Result:
        """Raises the errors of the database and the API server, and why nothing can be decided.

        An error of the store is a fact.
        """
        observed = await self._observe(await self._gather(resource, body))
        undecidable = nothing_known(observed.facts)
        if undecidable is not None:
            raise undecidable
        return await self._apply(observed, decide(observed.facts))

    async def gone(self, namespace: str, name: str) -> None:
        """Ends a running check and archives the row."""
        await self._scheduler.forget((namespace, name))
        await retire(
            "version", namespace, name, objects=self._objects, connections=self._connections, now=self._clock.now()
        )

    def outage(self, resource: ModelVersion) -> ModelVersionStatus:
        """The last known status; a version without any known facts is still to be verified."""
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
        rows = row = None
        if isinstance(registry, ModelRegistry):
            rows = await self._connections.rows(registry)
            row = await rows.load_version(model=version.spec.model_ref.name, version=version.spec.version)
        policies, held = self._objects.policies(), await _held(row, rows, model)
        approvals, unread_approvals = self._objects.about(ModelApproval, version)
        evaluations, unread_evaluations = self._objects.about(ModelEvaluation, version)
        digest = row.digest if row is not None and row.digest else version.status.recorded_digest
        facts = Facts(
            now=self._clock.now(),
            version=version,
            spec_json=orjson.dumps(body["spec"], option=orjson.OPT_SORT_KEYS).decode(),
            model=model,
            registry=registry,
            profile=self._objects.profile_of(version),
            row=row,
            holder_exists=row is not None and self._is_there(ObjectName(row.namespace, row.object_name)),
            artifact=None if row is None else row.artifact,
            policies=self._objects.applying(policies, model, registry, held),
            policy_names=frozenset(policy.name for policy in policies),
            approvals=approvals,
            evaluations=evaluations,
            unreadable=(*unread_approvals, *unread_evaluations),
            withdrawals=self._withdrawals.by_uid,
            deployed_to=tuple(self._services.deployed_to(version)),
            served_in=self._services.served_in(version, digest=digest),
            running=self._pods.of_version(version),
            rivals=self._rivals.of(version, digest=digest),
            endpoints=self._rivals.endpoints(version.spec.artifact.uri),
            held=held,
        )
        return _Gathered(facts, rows)

    async def _observe(self, gathered: _Gathered) -> _Gathered:
        """The facts with the store's answer on the artifact, if a check is due: its files, or its error."""
        facts = gathered.facts
        if not facts.watches_artifact or gathered.rows is None:
            return gathered
        try:
            observation = await self._scheduler.observe(facts, gathered.rows)
        except ReconcileError as error:
            self._reread_refused(facts, error)
            owed = owes_reading(facts) and must_be_read(facts)
            return replace(
                gathered,
                facts=replace(
                    facts, store_error=error, rereading=error.finding(expected=FILES_READ) if owed else facts.rereading
                ),
            )
        if observation is None:
            return gathered
        if observation.error is not None:
            self._reread_refused(facts, observation.error)
        facts = replace(
            facts, artifact=observation.artifact, rereading=observation.rereading, store_error=observation.error
        )
        record = observation.artifact
        if isinstance(record, ArtifactRecord) and record.digest is not None and facts.recorded_digest is None:
            # The digest of the artifact is known only now.
            version = facts.version
            facts = replace(
                facts,
                rivals=self._rivals.of(version, digest=record.digest),
                served_in=self._services.served_in(version, digest=record.digest),
            )
        return replace(gathered, facts=facts, files=observation.files)

    def _reread_refused(self, facts: Facts, error: ReconcileError) -> None:
        """Credentials are not watched: the next check reads them again, after a person corrected them."""
        if isinstance(facts.registry, ModelRegistry) and isinstance(error, Waiting):
            self._connections.reread(facts.registry, older_than=REFUSED_AGAIN)

    def _is_there(self, version: ObjectName) -> bool:
        return self._objects.reader.revision(VERSIONS, *version) is not None

    # apply

    async def _apply(self, gathered: _Gathered, decision: Decision) -> Result:
        """Writes the template and the row. Where the row's ids are known, the template comes first.

        The template needs the ids, and a row must not promise a missing template. If the cluster rejects the template,
        the error is one more fact, which shuts the gate of the template.
        """
        facts, refused = gathered.facts, None
        known = _row_ids(facts, decision)
        ids = known or await self._save(gathered, decision)
        try:
            template = await self._emit(facts, decision, ids)
        except Stalled as error:
            refused = error
            gathered = _with_refused_template(gathered, decision, ids, error, saved=known is None)
            facts = gathered.facts
            decision = decide(facts)
            template = await self._emit(facts, decision, ids)
        if known is not None or refused is not None:
            await self._save(gathered, decision)
        status = version_status(
            facts, decision, registry_id=ids.version_id if ids else None, template=template, now=facts.now
        )
        failure = refused or facts.store_error
        again = _requeue(facts, decision) if failure is None else requeue_after_error(failure)
        return Result(status=status, requeue=again)

    async def _save(self, gathered: _Gathered, decision: Decision) -> VersionIds | None:
        row, record = gathered.facts.row, decision.record
        if record is None or gathered.rows is None:
            return None
        known = None if row is None else _ids(row)
        if row is not None and known is not None and gathered.files is None and not owes_write(record, row):
            return known
        return await gathered.rows.save_version(
            record,
            files=gathered.files,
            change=decision.change,
            known=gathered.facts.known_ids,
            facts=decision.facts,
        )

    async def _emit(self, facts: Facts, decision: Decision, ids: VersionIds | None) -> TemplateStatus | None:
        """Writes the template, or deletes the template of a version that is no longer ready."""
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
        written = TemplateStatus(name=config_map_name(version.metadata.name), digest=template.digest)
        if written != emitted or self._sweep.is_lost(name):
            config_map = self._templates.config_map(template, owner=version.metadata)
            await self._writer.put_config_map(version.metadata.namespace, config_map)
            self._sweep.written(name)
        return written


async def _held(row: VersionRecord | None, rows: RegistryRows | None, model: RegisteredModel | Unmet) -> Held:
    """What the version was held to before: by its own row, or as a new version by its model's row.

    A classifier who vouches for a model's tier and licence vouches for versions that are still to come: the model's row
    then does not count.
    """
    known = known_holding(row)
    if known is not None or rows is None or isinstance(model, Unmet) or model.spec.classified_by is not None:
        return known or Held()
    kept = await rows.load_model(model=model.metadata.name)
    return Held.parse(kept.held if kept else None)


def _row_ids(facts: Facts, decision: Decision) -> VersionIds | None:
    """The ids of the row that the decision goes into, if the version's object already holds it.

    A row that a client recorded must be taken over first: the database may refuse that.
    """
    row = facts.row
    return None if decision.record is None or row is None or row.is_recorded else _ids(row)


def _ids(row: VersionRecord) -> VersionIds | None:
    return None if row.id is None or row.model_id is None else VersionIds(row.model_id, row.id)


def _with_refused_template(
    gathered: _Gathered, decision: Decision, ids: VersionIds | None, error: Stalled, *, saved: bool
) -> _Gathered:
    """The facts after the cluster rejected the template; ``saved`` when the row was written just before."""
    facts = gathered.facts
    row = facts.row
    if saved and decision.record is not None and ids is not None:
        row = replace(decision.record, id=ids.version_id, model_id=ids.model_id)
    refused = replace(facts, row=row, template_problem=error.finding(expected="a serving template"))
    return replace(gathered, facts=refused, files=None if saved else gathered.files)


def _requeue(facts: Facts, decision: Decision) -> Requeue:
    if decision.check_due is None:
        return Requeue()
    return Requeue(after=max((decision.check_due - facts.now).total_seconds(), 1.0))


# What the operator declares for the kind


def _index_model(body: WireVersion) -> Iterable[str]:
    yield model_key(body["metadata"]["namespace"], body["spec"]["modelRef"]["name"])


def _index_phase(body: WireVersion) -> Iterable[str]:
    phase = (body.get("status") or {}).get("phase")
    if phase:
        yield phase_key(body["metadata"]["namespace"], body["spec"]["modelRef"]["name"], phase)


def _index_status(body: WireVersion) -> Iterable[str]:
    phase = (body.get("status") or {}).get("phase")
    if phase:
        yield phase


def _index_uncleared(body: WireVersion) -> Iterable[str]:
    status = body.get("status") or {}
    unapproved = not all(pods["approved"] for pods in status.get("running") or ())
    if unapproved or not set(status.get("deployedTo") or ()) <= set(status.get("clearedFor") or ()):
        yield RUNNING


def _index_claim(body: WireVersion) -> Iterable[str]:
    yield claim_key(body["metadata"]["namespace"], body["spec"]["modelRef"]["name"], body["spec"]["version"])


def _index_registered(body: WireVersion) -> Iterable[str]:
    status = body.get("status") or {}
    if status.get("registry") and status.get("registryId"):
        yield registered_key(status["registry"], archived=status.get("phase") == "Archived")


def _index_policies(body: WireVersion) -> Iterable[str]:
    for policy in (body.get("status") or {}).get("policies") or ():
        yield policy_key(policy["name"])
        if policy["outcome"] == "Denies":
            yield policy_key(policy["name"], denies=True)


def _index_served(body: WireVersion) -> Iterable[str]:
    yield folder_of(body["spec"]["artifact"]["uri"])


def _index_deployed(body: WireVersion) -> Iterable[str]:
    """The stages in which the status says that services run the version."""
    status = body.get("status") or {}
    yield from status.get("deployedTo") or ()
    yield from (place["stage"] for place in status.get("admittedTo") or ())


def _index_standing(body: WireVersion) -> Iterable[str]:
    standing = standing_of(body)
    if standing is not None:
        yield standing.packed()


def _index_digest(body: WireVersion) -> Iterable[str]:
    status = body.get("status") or {}
    digest = status.get("recordedDigest") or (status.get("artifact") or {}).get("digest")
    if digest:
        yield digest


def _index_refused_at(body: WireVersion) -> Iterable[str]:
    """The version's folder and the folders above it: a server that loads one of these loads the refused files."""
    if (body.get("status") or {}).get("refusals"):
        uri = folder_of(body["spec"]["artifact"]["uri"])
        yield uri
        yield from folders_above(uri)


def _index_refused_digest(body: WireVersion) -> Iterable[str]:
    if (body.get("status") or {}).get("refusals"):
        yield from _index_digest(body)


def _index_profile(body: WireVersion) -> Iterable[str]:
    yield body["spec"]["hardwareProfileRef"]["name"]


def _classification_part(model: WireModel) -> object:
    """What decides which policies apply to the versions of a model, and what its templates say."""
    return [model["spec"], model["metadata"].get("labels")]


def _of_models(models: Iterable[ObjectKey], caches: Caches) -> Iterable[ObjectKey]:
    for model in models:
        yield from caches.select(VERSIONS, BY_MODEL, model_key(model.namespace, model.name))


def _in_namespace(namespace: WireObject, caches: Caches) -> Iterable[ObjectKey]:
    return caches.select(VERSIONS, BY_NAMESPACE, namespace["metadata"]["name"])


def _on_profile(profile: WireObject, caches: Caches) -> Iterable[ObjectKey]:
    return caches.select(VERSIONS, BY_PROFILE, profile["metadata"]["name"])


def _in_registry(registry: WireRegistry, caches: Caches) -> Iterable[ObjectKey]:
    return _of_models(models_of_registry(registry, caches), caches)


def _of_model(model: WireObject, caches: Caches) -> Iterable[ObjectKey]:
    metadata = model["metadata"]
    return caches.select(VERSIONS, BY_MODEL, model_key(metadata["namespace"], metadata["name"]))


def _every_version(_policy: WireObject, caches: Caches) -> Iterable[ObjectKey]:
    return caches[VERSIONS].keys()


def _decided_on(decision: WireDecision, _caches: Caches) -> Iterable[ObjectKey]:
    yield ObjectKey(VERSIONS, decision["metadata"]["namespace"], decision["spec"]["versionRef"]["name"])


def _of_same_name(version: WireVersion, caches: Caches) -> Iterable[ObjectKey]:
    """Versions that claim the same name in the same model: one may take the name when another releases it."""
    spec, metadata = version["spec"], version["metadata"]
    claim = claim_key(metadata["namespace"], spec["modelRef"]["name"], spec["version"])
    for key in caches.select(VERSIONS, BY_CLAIM, claim):
        if key.name != metadata["name"]:
            yield key


def _build(shared: Dependencies) -> Reconcile:
    adapters = shared.adapters
    withdrawals = Withdrawals()
    for decision in (ModelApproval, ModelEvaluation):
        adapters.caches[decision.info.plural].subscribe(withdrawals.observe)
    rivalries = Rivalries(reader=adapters.reader, enqueue=lambda name: adapters.enqueue(ObjectKey(VERSIONS, *name)))
    adapters.caches[VERSIONS].subscribe(rivalries.observe)
    return shared.runner(
        ModelVersionController(
            objects=shared.objects,
            connections=shared.connections,
            scheduler=VerificationScheduler(
                connections=shared.connections,
                checks=shared.checks,
                patience=adapters.patience,
                hinted=lambda key: shared.hints.take(ObjectName(*key)),
            ),
            writer=adapters.writer,
            templates=TemplateWriter(),
            sweep=shared.templates,
            services=shared.services,
            pods=shared.pods,
            withdrawals=withdrawals,
            clock=adapters.clock,
        )
    )


DECLARATION: Final = Declaration(
    resource=resource_of(ModelVersion),
    build=_build,
    indexes={
        BY_MODEL: _index_model,
        BY_PHASE: _index_phase,
        BY_STATUS: _index_status,
        BY_UNCLEARED: _index_uncleared,
        BY_CLAIM: _index_claim,
        BY_PROFILE: _index_profile,
        BY_REGISTERED: _index_registered,
        BY_NAMESPACE: namespace_of,
        BY_POLICY: _index_policies,
        BY_SERVED: _index_served,
        BY_DEPLOYED: _index_deployed,
        BY_STANDING: _index_standing,
        BY_DIGEST: _index_digest,
        BY_REFUSED_AT: _index_refused_at,
        BY_REFUSED_DIGEST: _index_refused_digest,
    },
    triggers=(
        Trigger(kind=NAMESPACES.kind, relevant=labels_part, dependents=_in_namespace),
        Trigger(kind=NAMESPACES.kind, relevant=labels_part, dependents=run_in_namespace),
        Trigger(
            kind=INFERENCE_SERVICES.plural,
            relevant=service_part,
            dependents=run_by_service,
            settle=SERVICE_SETTLE,
            listed=shown_as_running,
        ),
        Trigger(kind=HardwareProfile.info.plural, relevant=spec_part, dependents=_on_profile),
        Trigger(kind=ModelRegistry.info.plural, relevant=registry_part, dependents=_in_registry),
        Trigger(kind=GovernancePolicy.info.plural, relevant=spec_part, dependents=_every_version),
        Trigger(kind=ModelApproval.info.plural, relevant=spec_part, dependents=_decided_on),
        Trigger(kind=ModelEvaluation.info.plural, relevant=spec_part, dependents=_decided_on),
        Trigger(kind=RegisteredModel.info.plural, relevant=_classification_part, dependents=_of_model),
        Trigger(kind=VERSIONS, relevant=outcome_part, dependents=_of_same_name, settle=SUMMARY_SETTLE),
    ),
    workers=None,
    waits_for_database=True,
    rights=(
        # Serving templates.
        Right(resource="configmaps", verbs=("get", "list", "create", "patch", "delete")),
        Right(resource="pods", verbs=("list",)),
    ),
)
