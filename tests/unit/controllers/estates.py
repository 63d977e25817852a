"""One object of every kind, and the controllers over them."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import policies
import worlds
from gatehouse.api import (
    GovernancePolicy,
    HardwareProfile,
    ModelApproval,
    ModelDeployment,
    ModelEvaluation,
    ModelRegistry,
    ModelVersion,
    RegisteredModel,
    Resource,
    VettedArtifacts,
)
from gatehouse.api.meta import ANNOTATION_WRITER
from gatehouse.app.cache_reader import CacheReader
from gatehouse.controllers.dependencies import EVERY
from gatehouse.controllers.deployment_writes import DeploymentWriter
from gatehouse.controllers.faults import Faults
from gatehouse.controllers.governance_policy import GovernancePolicyController
from gatehouse.controllers.hardware_profile import HardwareProfileController
from gatehouse.controllers.inference_services import Services
from gatehouse.controllers.lookup import Objects
from gatehouse.controllers.model_deployment import ModelDeploymentController
from gatehouse.controllers.model_registry import ModelRegistryController
from gatehouse.controllers.model_version import ModelVersionController
from gatehouse.controllers.observed import Withdrawals
from gatehouse.controllers.reconciler import Runner
from gatehouse.controllers.registered_model import RegisteredModelController
from gatehouse.controllers.routes import Routes
from gatehouse.controllers.running_pods import PodSweep
from gatehouse.controllers.step_measures import StepMeasures
from gatehouse.controllers.step_questions import StepQuestions
from gatehouse.controllers.table import WATCHES
from gatehouse.controllers.templates import TemplateSweep
from gatehouse.controllers.verification.scheduler import Observation
from gatehouse.controllers.vetted_artifacts import VettedArtifactsKeeper
from gatehouse.domain.common.revision import Revision
from gatehouse.domain.deployment.route import RouteParent
from gatehouse.domain.serving.names import served_digest
from gatehouse.domain.serving.template import TemplateWriter
from gatehouse.registry.rows import Rows
from gatehouse.runtime.informer import Informer
from gatehouse.runtime.watches import build_caches
from registrycontract import Opened
from unit.controllers.servings import Answers, RouteKeeper, Serving
from unit.domain.deployment import deployments

NOW = worlds.NOW
ONE, TWO = "s3://models/one/", "s3://other/two/"
PASSES = 3


def body(resource: Resource, name: str, *, namespace: str = "team", **metadata: Any) -> dict[str, Any]:
    made = resource.model_dump(mode="json", by_alias=True, exclude_none=True)
    known = {"name": name, "uid": f"uid-of-{name}", "generation": 1, "creationTimestamp": "2026-11-01T00:00:00Z"}
    if resource.info.namespaced:
        known["namespace"] = namespace
    return {"metadata": {**known, **metadata}, "spec": made["spec"]}


def estate() -> dict[tuple[type[Resource], str], dict[str, Any]]:
    """Two versions with all they need, each with its own; and what decides on the first."""
    made: dict[tuple[type[Resource], str], dict[str, Any]] = {}
    for which, bucket in (("one", "models"), ("two", "other")):
        registry = worlds.registry(
            objectStores=[{"uriPrefix": f"s3://{bucket}/", "endpoint": "http://127.0.0.1:9000"}], stages=["staging"]
        )
        made[ModelRegistry, which] = body(registry, which, namespace="gatehouse-system")
        model = worlds.model(registryRef={"name": which, "namespace": "gatehouse-system"})
        made[RegisteredModel, which] = body(model, which, labels={"which": which})
        made[HardwareProfile, which] = body(worlds.profile(), which)
        version = worlds.version(
            modelRef={"name": which},
            hardwareProfileRef={"name": which},
            artifact={"uri": f"s3://{bucket}/{which}/"},
            submittedBy="carol",
        )
        made[ModelVersion, which] = body(version, which)
    selector = {"matchLabels": {"which": "one"}}
    requirement = {"name": "acc", "kind": "Task", "metric": "acc", "operator": ">=", "threshold": "0.5"}
    policy = policies.policy(
        match={"modelSelector": selector},
        approvals=[{"stage": "staging", "count": 1}],
        evaluations=[requirement],
        artifact={"formats": ["safetensors"]},
        description="d",
    )
    made[GovernancePolicy, "one"] = body(policy.policy, "one")
    made[GovernancePolicy, "fine"] = body(policies.policy(description="speaks to every stage").policy, "fine")
    about = {"name": "one", "uid": "uid-of-one"}
    judged = ModelVersion.model_validate(made[ModelVersion, "one"])
    approved = policies.approval(versionRef=about, servedDigest=served_digest(judged.spec, worlds.DIGEST))
    made[ModelApproval, "one"] = body(approved, "one")
    deployment = deployments.deployment(modelRef={"name": "one"}, versionRef={"name": "one"})
    made[ModelDeployment, "one"] = body(deployment, "one")
    made[ModelEvaluation, "one"] = body(policies.evaluation(versionRef=about, evaluator="dave"), "one")
    return made


@dataclass
class World:
    """The operator without its loop, over a map of objects and real rows."""

    opened: Opened
    now_: datetime = NOW
    vetted: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    name: str = "one"
    revision_: int = 0

    def __post_init__(self) -> None:
        self.caches = build_caches(WATCHES)
        self.reader = CacheReader(self.caches)
        self.enqueued: list[Any] = []
        loop: Any = self
        self.informer = Informer(watches=WATCHES, caches=self.caches, enqueue=self.enqueued.append, clock=loop)
        self.faults = Faults(self.reader)
        objects = Objects(self.reader, self.faults)
        world: Any = self
        self.serving = Serving(written=self.caches["inferenceservices"].put_own_write, deleted=self._forget)
        self.routes = RouteKeeper(written=self.caches["httproutes"].put_own_write)
        self.verdicts: list[tuple[str, str]] = []
        self.prometheus = Answers()
        questions = StepQuestions(metrics=self.prometheus, webhooks=self.prometheus, changed=self.ignored)
        self.measures = StepMeasures(
            questions, clock=world, ended=lambda step, verdict: self.verdicts.append((step, verdict))
        )
        for kind in ("httproutes", "routes"):
            self.caches[kind].complete = True
        self.keeper = VettedArtifactsKeeper(objects=objects, writer=world, clock=world, faults=self.faults)
        version = ModelVersionController(
            objects=objects,
            connections=world,
            scheduler=world,
            writer=world,
            templates=TemplateWriter(),
            sweep=TemplateSweep(reader=self.reader, lister=world, enqueue=world.ignored),
            services=Services(self.reader),
            pods=PodSweep(
                reader=self.reader, lister=world, served=lambda _kind: None, enqueue=world.ignored, told=world.ignored
            ),
            withdrawals=Withdrawals(),
            clock=world,
        )
        controllers: list[Any] = [
            ModelRegistryController(objects=objects, connections=world, clock=world),
            RegisteredModelController(objects=objects, connections=world, clock=world),
            GovernancePolicyController(objects=objects, clock=world),
            HardwareProfileController(reader=self.reader, clock=world),
            version,
            ModelDeploymentController(
                objects=objects,
                faults=self.faults,
                connections=world,
                serving=self.serving,
                routes=Routes(
                    self.reader,
                    served={"httproutes": True, "routes": False}.get,
                    default_gateway=RouteParent("infra", "gateway"),
                ),
                measures=self.measures,
                writer=DeploymentWriter(serving=self.serving, routes=self.routes, events=world),
                clock=world,
            ),
        ]
        self.runners = {
            each.kind: Runner(each, reader=self.reader, writer=world, events=world, clock=world, faults=self.faults)
            for each in controllers
        }

    def _forget(self, service: dict[str, Any]) -> None:
        self.revision_ += 1
        gone = {**service, "metadata": {**service["metadata"], "resourceVersion": str(3_000_000 + self.revision_)}}
        self.informer._apply("inferenceservices", "DELETED", gone)

    # what the tests do

    def put(self, kind: type[Resource], made: dict[str, Any]) -> None:
        self.revision_ += 1
        known = self.caches[kind.info.plural].get(made["metadata"].get("namespace", ""), made["metadata"]["name"])
        kept = {"status": known["status"]} if known and "status" in known and "status" not in made else {}
        changed = copy.deepcopy({**made, **kept})
        changed["metadata"] |= {"resourceVersion": str(self.revision_), "generation": self.revision_}
        self.informer._apply(kind.info.plural, "MODIFIED", changed)

    async def settle(self) -> None:
        """Reconciles everything until nothing is left to say; what raises is kept."""
        for _ in range(PASSES):
            for kind, runner in self.runners.items():
                for name in self.reader.names(kind.info.plural):
                    try:
                        await runner(*name)
                    except Exception as error:  # noqa: BLE001 - the engine would try it again
                        self.failures.append(f"{kind.info.kind} {name.name}: {type(error).__name__}: {error}")
            self.now_ += timedelta(seconds=10)
            await self.keeper("", EVERY)

    def status(self, which: str) -> Mapping[str, Any]:
        found = self.reader.get("modelversions", "team", which)
        assert found is not None
        return dict(found["status"])

    @property
    def cleared(self) -> set[str]:
        return {uri for spec in self.vetted.values() for uri in spec["artifacts"]}

    # the API server, the store, the registry, the clocks

    async def write_status(self, kind: str, made: Mapping[str, Any], status: Mapping[str, Any]) -> None:
        self.revision_ += 1
        written = copy.deepcopy({**made, "status": dict(status)})
        written["metadata"]["resourceVersion"] = str(self.revision_)
        self.caches[kind].put_own_write(written)

    async def vetted_artifacts(self) -> Mapping[str, Revision]:
        return {name: self._revision(name) for name in self.vetted}

    async def create_vetted_artifacts(self, made: Mapping[str, Any]) -> Revision:
        name = made["metadata"]["name"]
        self.vetted[name] = made["spec"]
        marked = copy.deepcopy({**made, "metadata": {"name": name, "annotations": {ANNOTATION_WRITER: self.name}}})
        self.put(VettedArtifacts, marked)
        return self._revision(name)

    async def update_vetted_artifacts(self, made: Mapping[str, Any], *, at: Revision) -> Revision:
        assert at == self._revision(made["metadata"]["name"])
        return await self.create_vetted_artifacts(made)

    def _revision(self, name: str) -> Revision:
        kept = self.caches["vettedartifacts"].get("", name)
        assert kept is not None
        return Revision.of(kept["metadata"])

    async def delete_vetted_artifacts(self, name: str, *, at: Revision) -> None:
        assert at == self._revision(name)
        self.revision_ += 1
        gone = {"metadata": {"name": name, "resourceVersion": str(self.revision_)}, "spec": self.vetted.pop(name)}
        self.caches["vettedartifacts"].apply("DELETED", gone)

    async def put_config_map(self, namespace: str, config_map: Mapping[str, Any]) -> None:
        self.serving.templates[namespace, config_map["metadata"]["name"]] = config_map

    async def delete_config_map(self, namespace: str, name: str, *, owner_uid: str) -> None:
        """Gone."""

    async def observe(self, facts: Any, rows: Any) -> Observation:
        digest = worlds.DIGEST if facts.version.metadata.name == "one" else worlds.OTHER_DIGEST
        return Observation(worlds.record(verified_at=self.now_, read_at=self.now_, digest=digest))

    async def rows(self, registry: ModelRegistry) -> Rows:
        return self.opened.rows

    async def probe(self, registry: ModelRegistry, store: Any) -> None:
        """It answers."""

    def reread(self, registry: ModelRegistry, **_how: Any) -> None:
        """Nothing is kept."""

    def describe(self, registry: ModelRegistry) -> str:
        return "sqlite"

    def record(self, kind: str, made: Mapping[str, Any], **said: Any) -> None:
        """Heard."""

    def ignored(self, _name: Any) -> None:
        """Everything is looked at in each pass."""

    def call_at(self, when: Any, callback: Any) -> None:
        """As above."""

    def now(self) -> datetime:
        return self.now_
