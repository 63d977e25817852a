"""The test data of the health checks, made by the code that writes the statuses, so that neither can drift.

``python -m unit.gitops.cases``, run in ``tests``, writes it anew, and the patch for OpenShift GitOps with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import yaml

import policies
import worlds
from gatehouse.api import (
    GovernancePolicy,
    HardwareProfile,
    ModelApproval,
    ModelDeployment,
    ModelRegistry,
    ModelVersion,
    RegisteredModel,
)
from gatehouse.api.meta import GROUP, VERSION, Resource
from gatehouse.api.model_registry import ObjectStore
from gatehouse.api.model_version import TemplateStatus
from gatehouse.controllers import lookup
from gatehouse.controllers.governance_policy import GovernancePolicyController
from gatehouse.controllers.hardware_profile import HardwareProfileController
from gatehouse.controllers.model_registry import ModelRegistryController
from gatehouse.controllers.reconciler import KindController, after_error
from gatehouse.controllers.registered_model import RegisteredModelController
from gatehouse.domain.artifact.values import CheckProgress
from gatehouse.domain.common.errors import ReconcileError, Stalled, Transient, Waiting
from gatehouse.domain.common.finding import Finding
from gatehouse.domain.governance.held import Held
from gatehouse.domain.governance.policy import CompiledPolicy
from gatehouse.domain.version.facts import Unmet
from gatehouse.domain.version.lifecycle import decide
from gatehouse.domain.version.records import ModelRecord, RegistryCounts
from gatehouse.domain.version.status import version_status
from gatehouse.install.shipped_files import shipped
from unit.domain.deployment.deployments import Rehearsal, deployment
from unit.gitops.argo import HEALTH, script

__all__ = ["CASES", "OPENSHIFT", "openshift_text", "text"]

OPENSHIFT = shipped("gitops/argocd/openshift-gitops.yaml")
OPENSHIFT_HEAD = """\
# For OpenShift GitOps, whose operator writes argocd-cm: the same scripts as in health/, for the ArgoCD object. It
# replaces the list, so keep what is in it already.
# oc patch argocd openshift-gitops -n openshift-gitops --type=merge --patch-file gitops/argocd/openshift-gitops.yaml
"""

Body = dict[str, Any]

OUTAGE = Transient(reason="StoreUnavailable", message="http://minio.minio.svc:9000 does not answer")
DATABASE_DOWN = Transient(reason="DatabaseUnavailable", message="mysql://db:3306/registry does not answer")
FORBIDDEN = Waiting(
    reason="SecretForbidden",
    message="the operator may not read Secret models/minio-connection",
    remedy="bind the ClusterRole gatehouse-registry-secrets to it in namespace models",
    after=timedelta(seconds=30),
)
TOO_NEW = Stalled(
    reason="SchemaTooNew",
    message="the tables are of revision 0009, this Gatehouse knows 0001",
    remedy="run the Gatehouse that wrote the tables, or a newer one",
)
NO_MODEL = Unmet(
    finding=Finding(
        reason="ModelNotFound",
        found="no RegisteredModel granite in namespace team",
        expected="the RegisteredModel team/granite",
        remedy="apply the RegisteredModel, or fix spec.modelRef in a new ModelVersion",
    )
)
NO_REGISTRY = Unmet(
    finding=Finding(
        reason="RegistryNotFound",
        found="no ModelRegistry is the default one",
        expected="exactly one ModelRegistry annotated gatehouse.dev/default-registry=true",
        remedy="annotate one, or name the registry in spec.registryRef of the RegisteredModel",
    )
)
NOT_ALLOWED = Unmet(
    needs_person=True,
    finding=Finding(
        reason="NamespaceNotAllowed",
        found="registry gatehouse-system/local does not allow namespace team",
        expected="a namespace that the registry allows",
        remedy="have the platform team allow the namespace",
    ),
)
BROKEN = Finding(
    reason="Truncated",
    found="model.safetensors has 100 bytes of 4,096",
    expected="the bytes that its header names",
    remedy="upload model.safetensors again",
)


class Clock:
    """Always the same moment."""

    def now(self) -> datetime:
        return worlds.NOW


class Reader:
    """A cache that holds nothing."""

    def select(self, kind: str, index: str, value: str) -> Sequence[Any]:
        return ()

    def revision(self, kind: str, namespace: str, name: str) -> None:
        return None


class Objects:
    """The registry of every model."""

    def __init__(self, registry: ModelRegistry | Unmet) -> None:
        self.reader = Reader()
        self._registry = registry

    def registry_of(self, model: RegisteredModel) -> ModelRegistry | Unmet:
        return self._registry

    def policies(self) -> tuple[CompiledPolicy, ...]:
        return ()

    def applying(
        self,
        policies: Iterable[CompiledPolicy],
        model: RegisteredModel | Unmet,
        registry: ModelRegistry | Unmet,
        held: Held,
    ) -> tuple[CompiledPolicy, ...]:
        return tuple(policies)


class Rows:
    """A registry's rows, without any."""

    schema_version = "0001"

    async def counts(self) -> RegistryCounts:
        return RegistryCounts(models=2, versions=5)

    async def load_model(self, *, model: str) -> ModelRecord | None:
        return None

    async def save_model(self, record: ModelRecord, *, known: int | None = None) -> int:
        return 3


class Connections:
    """Opens the rows; what it refuses is raised by the database, or by a store."""

    def __init__(self, *, database: ReconcileError | None = None, store: ReconcileError | None = None) -> None:
        self._database = database
        self._store = store

    async def rows(self, registry: ModelRegistry) -> Rows:
        if self._database is not None:
            raise self._database
        return Rows()

    async def probe(self, registry: ModelRegistry, store: ObjectStore) -> None:
        if self._store is not None:
            raise self._store

    def describe(self, registry: ModelRegistry) -> str:
        return "mysql://db:3306/registry"

    def reread(self, registry: ModelRegistry, *, older_than: timedelta = timedelta(0)) -> None:
        """Nothing is kept."""


def body(resource: Resource, status: Mapping[str, Any] | None) -> Body:
    """An object as the API server answers it."""
    metadata = resource.metadata.wire()
    kept = {name: metadata[name] for name in ("name", "namespace", "generation") if metadata.get(name)}
    made: Body = {"apiVersion": f"{GROUP}/{VERSION}", "kind": resource.info.kind, "metadata": kept}
    if status is not None:
        made["status"] = dict(status)
    return made


def reconciled(controller: KindController[Any], resource: Resource) -> Body:
    """The object after one reconcile."""
    try:
        result = asyncio.run(controller.reconcile(resource, {"spec": {}}))
    except ReconcileError as error:
        result = after_error(controller, resource, error, clock=Clock())
    return body(resource, result.status.wire())


def version(**facts: Any) -> Callable[[], Body]:
    """A version of which that is known."""

    def make() -> Body:
        known = worlds.facts(**facts)
        decision = decide(known)
        template = TemplateStatus(name="granite-1-serving", digest=worlds.DIGEST) if decision.ready else None
        status = version_status(known, decision, registry_id=7, template=template, now=known.now)
        return body(known.version, status.wire())

    return make


def version_after(error: ReconcileError) -> Callable[[], Body]:
    """A new version whose reconcile failed."""

    def make() -> Body:
        known = worlds.version(status={"observedGeneration": -1})
        return body(known, after_error(_Kept(known), known, error, clock=Clock()).status.wire())

    return make


class _Kept:
    """The part of a version's controller that is asked after an error."""

    def __init__(self, version: ModelVersion) -> None:
        self.kind = type(version)

    def outage(self, resource: ModelVersion) -> Any:
        return resource.status

    def grace(self, resource: ModelVersion) -> timedelta:
        return timedelta(hours=24)


def judged(*decisions: ModelApproval) -> Callable[[], Body]:
    """A version that one other person has to approve, after these decisions."""
    wanted = policies.policy("reviewed", approvals=[{"stage": "staging"}])
    return version(version=worlds.version(submittedBy="carol"), policies=(wanted,), approvals=decisions)


def policy(**spec: Any) -> Callable[[], Body]:
    """A policy with these rules."""
    reader: Any = Reader()
    controller = GovernancePolicyController(objects=lookup.Objects(reader), clock=Clock())
    made = GovernancePolicy.model_validate({"metadata": {"name": "strict", "generation": 1}, "spec": spec})
    return lambda: reconciled(controller, made)


def next_generation(before: Callable[[], Body]) -> Callable[[], Body]:
    """The object after somebody changed its spec."""

    def make() -> Body:
        made = before()
        return {**made, "metadata": {**made["metadata"], "generation": 2}}

    return make


def untouched(resource: Resource) -> Callable[[], Body]:
    """An object that was just created: the status is the schema's default."""
    return lambda: body(resource, {"observedGeneration": -1})


def model(registry: ModelRegistry | Unmet, **refused: ReconcileError) -> Callable[[], Body]:
    """A model that this registry keeps."""
    return lambda: reconciled(
        RegisteredModelController(
            objects=Objects(registry),  # type: ignore[arg-type]  # the part that is used
            connections=Connections(**refused),  # type: ignore[arg-type]  # the part that is used
            clock=Clock(),
        ),
        worlds.model(),
    )


def registry(**refused: ReconcileError) -> Callable[[], Body]:
    """A registry whose servers do that."""
    return lambda: reconciled(
        ModelRegistryController(
            objects=Objects(worlds.registry()),  # type: ignore[arg-type]  # as above
            connections=Connections(**refused),  # type: ignore[arg-type]  # the part that is used
            clock=Clock(),
        ),
        worlds.registry(),
    )


def profile(**accelerator: Any) -> Callable[[], Body]:
    """A profile with these figures."""
    controller = HardwareProfileController(reader=Reader(), clock=Clock())  # type: ignore[arg-type]  # as above
    return lambda: reconciled(controller, worlds.profile(**accelerator))


def rehearsed(*acts: Callable[[Rehearsal], object]) -> Callable[[], Body]:
    """A deployment of two versions, after what people and Pods did."""

    def make() -> Body:
        made = Rehearsal()
        made.settle()
        for act in acts:
            act(made)
            made.settle()
        return body(made.deployment, made.status.wire())

    return make


def available(made: Rehearsal) -> None:
    made.available()


def promoted(made: Rehearsal) -> None:
    made.promote("two")


def shut(made: Rehearsal) -> None:
    made.versions.pop("two")


def late(made: Rehearsal) -> None:
    made.wait(hours=1)


def stopped(made: Rehearsal) -> None:
    made.spec(paused=True)


def without_status(resource: Resource) -> Callable[[], Body]:
    """As some caches show an object."""
    return lambda: body(resource, None)


def ready_in_outage() -> Body:
    """A ready version whose store is down at its next check."""
    before = version()()["status"]
    return version(
        version=worlds.version(status=before), artifact=worlds.record(verified_at=worlds.NOW), store_error=OUTAGE
    )()


POLICY = {"metadata": {"name": "strict", "generation": 1}}
CASES: Mapping[str, Mapping[str, Callable[[], Body]]] = {
    ModelVersion.info.kind: {
        "no-status": without_status(worlds.version()),
        "created": untouched(worlds.version()),
        "created-in-outage": version_after(DATABASE_DOWN),
        "changed": next_generation(version()),
        "ready": version(),
        "ready-in-outage": ready_in_outage,
        "waiting": version(model=NO_MODEL, registry=NO_MODEL, artifact=None),
        "not-allowed": version(registry=NOT_ALLOWED, artifact=None),
        "verifying": version(
            artifact=CheckProgress(files_done=2, files=6, bytes_done=4_200_000_000, bytes=8_400_000_000)
        ),
        "artifact-missing": version(artifact=worlds.record(outcome="Missing", digest=None, summary=None)),
        "artifact-invalid": version(
            artifact=worlds.record(outcome="Invalid", digest=None, summary=None, problems=(BROKEN,))
        ),
        "artifact-changed": version(row=worlds.row(digest=worlds.OTHER_DIGEST), holder_exists=True),
        "does-not-fit": version(version=worlds.version(serving={"maxModelLen": 100_000_000})),
        "policy-denied": version(version=worlds.version(serving={"extraArgs": ["--host=0.0.0.0"]})),
        "pending-review": judged(),
        "rejected": judged(policies.approval("bob", "Rejected")),
        "changes-requested": judged(policies.approval("bob", "ChangesRequested")),
        "draft": version(version=worlds.version(state="Draft"), artifact=None),
        "deprecated": version(version=worlds.version(state="Deprecated")),
        "archived": version(model=worlds.model(state="Archived"), artifact=None),
    },
    ModelDeployment.info.kind: {
        "no-status": without_status(deployment()),
        "created": untouched(deployment()),
        "changed": next_generation(rehearsed(available)),
        "healthy": rehearsed(available),
        "rolling-out": rehearsed(),
        "held": rehearsed(available, shut, promoted),
        "paused": rehearsed(available, stopped),
        "rolled-back": rehearsed(available, promoted, late, available),
        "no-target": rehearsed(late),
    },
    RegisteredModel.info.kind: {
        "no-status": without_status(worlds.model()),
        "created": untouched(worlds.model()),
        "changed": next_generation(model(worlds.registry())),
        "registered": model(worlds.registry()),
        "waiting": model(NO_REGISTRY),
        "not-allowed": model(NOT_ALLOWED),
        "database-down": model(worlds.registry(), database=DATABASE_DOWN),
    },
    ModelRegistry.info.kind: {
        "no-status": without_status(worlds.registry()),
        "created": untouched(worlds.registry()),
        "changed": next_generation(registry()),
        "connected": registry(),
        "store-down": registry(store=OUTAGE),
        "database-down": registry(database=DATABASE_DOWN),
        "secret-forbidden": registry(database=FORBIDDEN),
        "schema-too-new": registry(database=TOO_NEW),
    },
    GovernancePolicy.info.kind: {
        "no-status": without_status(GovernancePolicy.model_validate(POLICY)),
        "created": untouched(GovernancePolicy.model_validate(POLICY)),
        "changed": next_generation(policy()),
        "compiled": policy(),
        "does-not-compile": policy(rules=[{"name": "bad", "expression": "stage == 1", "message": "never"}]),
    },
    HardwareProfile.info.kind: {
        "no-status": without_status(worlds.profile()),
        "created": untouched(worlds.profile()),
        "changed": next_generation(profile()),
        "valid": profile(),
        "invalid": profile(memory="0Mi"),
    },
}


def text(kind: str, name: str) -> str:
    """A file of test data."""
    return yaml.safe_dump(CASES[kind][name](), sort_keys=False, width=120, allow_unicode=True)


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as they are."""

    def represent_str(self, data: str) -> yaml.Node:
        return self.represent_scalar("tag:yaml.org,2002:str", data, style="|" if "\n" in data else None)


_Dumper.add_representer(str, _Dumper.represent_str)


def openshift_text() -> str:
    """The patch of the ArgoCD object, with every script."""
    checks = [{"group": GROUP, "kind": kind, "check": script(kind)} for kind in CASES]
    return OPENSHIFT_HEAD + yaml.dump({"spec": {"resourceHealthChecks": checks}}, Dumper=_Dumper, sort_keys=False)


def main() -> None:
    for kind, cases in CASES.items():
        folder = HEALTH / kind / "testdata"
        for old in folder.glob("*.yaml"):
            old.unlink()
        for name in cases:
            (folder / f"{name}.yaml").write_text(text(kind, name))
    OPENSHIFT.write_text(openshift_text())


if __name__ == "__main__":
    main()
