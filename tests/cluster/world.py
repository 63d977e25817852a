"""A world for the operator to work in: a namespace, a bucket, a registry, and the rows that come of them."""

from __future__ import annotations

import base64
import contextlib
import json
import secrets
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sqlalchemy import create_engine, text

from cluster.rig import PATIENCE, PLURALS, Operator, until
from cluster.status import Manifest, condition, kstatus
from gatehouse_local.controlplane import ADMIN, OPERATOR_USER
from gatehouse_local.databases import LocalDatabase
from gatehouse_local.ephemeral import RunningControlPlane
from gatehouse_local.errors import ApiRefused
from gatehouse_local.kube import KubeClient
from gatehouse_local.miniature import miniature_granite
from gatehouse_local.objects import namespace as namespace_manifest
from gatehouse_local.objects import registry_access
from gatehouse_local.s3 import S3Endpoint, open_store

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

__all__ = ["API", "MINIATURE", "World", "make_world", "secret"]

API = "/apis/gatehouse.dev/v1alpha1"
KEY_ID, KEY_SECRET = "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"
MINIATURE = miniature_granite()


@dataclass
class World:
    """A namespace, a bucket of its own and a registry ``registry`` that keeps what is applied here.

    ``database`` is None for SQLite in the operator's data directory.
    """

    kube: KubeClient
    operator: KubeClient
    namespace: str
    bucket: str
    store: S3Client
    endpoint: S3Endpoint
    database: LocalDatabase | None = None
    verification: dict[str, Any] = field(default_factory=dict)

    # objects

    def registry(self, **spec: Any) -> Manifest:
        """The registry, which clears without a policy; ``spec`` replaces fields."""
        wanted: Manifest = {
            "protectedStages": [],
            "defaultRiskTier": "Low",
            "objectStores": [self.object_store()],
            "allowedNamespaces": {"from": "Same"},
            "verification": self.verification,
            **self.database_spec(),
            **spec,
        }
        return self._object("ModelRegistry", "registry", wanted)

    def object_store(self, **changes: Any) -> Manifest:
        """The object store of the registry."""
        return {
            "uriPrefix": f"s3://{self.bucket}/",
            "endpoint": self.endpoint.url,
            **clear_text(self.endpoint.url),
            "region": self.endpoint.region,
            "credentialsSecret": {"name": "store"},
            **changes,
        }

    def database_spec(self) -> Manifest:
        """The part of the registry's spec that names the database."""
        if self.database is None:
            return {}
        return {
            "mysql" if self.database.kind == "mariadb" else "postgres": {
                "host": self.database.host,
                "port": self.database.port,
                "database": self.database.database,
                "username": self.database.username,
                "tls": "Disabled",
                "passwordSecret": {"name": "database", "key": "password"},
            }
        }

    def model(self, name: str = "granite", **spec: Any) -> Manifest:
        """A RegisteredModel of the registry."""
        return self._object("RegisteredModel", name, {"registryRef": {"name": "registry"}, **spec})

    def version(self, name: str = "granite-1", **spec: Any) -> Manifest:
        """A ModelVersion of the model ``granite``, of the artifact ``name/`` unless ``spec`` says otherwise."""
        return self._object(
            "ModelVersion",
            name,
            {
                "modelRef": {"name": "granite"},
                "version": name,
                "artifact": {"uri": self.uri(name)},
                "hardwareProfileRef": {"name": "nvidia-l4"},
                "serving": {"maxModelLen": 16384},
                **spec,
            },
        )

    def uri(self, prefix: str) -> str:
        """URI of a folder in the bucket."""
        return f"s3://{self.bucket}/{prefix}/"

    def apply(self, *manifests: Manifest) -> None:
        """Server-side applies objects as the administrator."""
        for manifest in manifests:
            self.kube.apply(manifest)

    def secrets(self, **changes: str) -> None:
        """Applies the Secrets that the registry names; ``changes`` by key."""
        credentials = self.endpoint.credentials
        values = {KEY_ID: credentials.access_key, KEY_SECRET: credentials.secret_key, **changes}
        self.apply(secret("store", self.namespace, values))
        if self.database is not None:
            self.apply(secret("database", self.namespace, {"password": self.database.password, **changes}))

    def path(self, kind: str, name: str = "") -> str:
        """Request path of an object or a list of a kind of Gatehouse, or of ConfigMaps, Events and Secrets."""
        if kind == "HardwareProfile":
            root = f"{API}/hardwareprofiles"
        elif kind in PLURALS:
            root = f"{API}/namespaces/{self.namespace}/{PLURALS[kind]}"
        else:
            root = f"/api/v1/namespaces/{self.namespace}/{kind.lower()}s"
        return f"{root}/{name}" if name else root

    def get(self, kind: str, name: str) -> Manifest | None:
        """An object, None when it is not there."""
        try:
            return self.kube.request("GET", self.path(kind, name))
        except ApiRefused as refused:
            if refused.status != 404:
                raise
            return None

    def delete(self, kind: str, name: str) -> None:
        """Deletes an object."""
        self.kube.request("DELETE", self.path(kind, name))

    def all(self, kind: str) -> list[Manifest]:
        """Every object of a kind in the namespace."""
        found: list[Manifest] = self.kube.request("GET", self.path(kind))["items"]
        return found

    def patch_status(self, kind: str, name: str, status: Mapping[str, Any] | None) -> Manifest:
        """Merge-patches a status as the operator's user, who alone may."""
        path = f"{self.path(kind, name)}/status"
        return self.operator.request("PATCH", path, {"status": status}, content_type="application/merge-patch+json")

    def patch(self, kind: str, name: str, patch: Mapping[str, Any]) -> Manifest:
        """Merge-patches an object."""
        path = self.path(kind, name)
        return self.kube.request("PATCH", path, patch, content_type="application/merge-patch+json")

    def ask(self, name: str, *, kind: str = "ModelVersion") -> str:
        """Annotates an object so that it is reconciled now; the value."""
        value = secrets.token_hex(8)
        self.patch(kind, name, {"metadata": {"annotations": {"gatehouse.dev/reconcile-requested-at": value}}})
        return value

    def wait(
        self,
        name: str,
        holds: Callable[[Manifest], object],
        *,
        kind: str = "ModelVersion",
        seconds: float = PATIENCE,
        what: str = "",
    ) -> Manifest:
        """The object as soon as ``holds``."""

        def probe() -> Manifest | None:
            found = self.get(kind, name)
            return found if found is not None and holds(found) else None

        return until(probe, what=lambda: f"{kind} {name} {what}: {json.dumps(self.get(kind, name))}", seconds=seconds)

    def final(self, name: str, *, kind: str) -> Manifest:
        """An object as soon as its current generation is Ready."""

        def reached(found: Manifest) -> bool:
            ready = condition(found, "Ready")
            current = found["status"].get("observedGeneration") == found["metadata"]["generation"]
            return bool(current and ready is not None and ready["status"] == "True")

        found = self.wait(name, reached, kind=kind, what="is not Ready")
        assert not kstatus(found), (kstatus(found), found)
        return found

    def wait_counted(self) -> None:
        """Returns when each model counts its versions as they are: nothing is owed that was put off until they rest.

        The number alone does not tell: as many versions may have been there, in other phases, when they were counted.
        """

        def counted() -> bool:
            phases = Counter(
                (body["spec"]["modelRef"]["name"], body["status"].get("phase")) for body in self.all("ModelVersion")
            )
            said = {
                (body["metadata"]["name"], each["phase"]): each["count"]
                for body in self.all("RegisteredModel")
                for each in body["status"].get("versionsByPhase", ())
            }
            return said == phases

        until(counted, what=lambda: f"versions are not counted: {json.dumps(self.all('RegisteredModel'))}")

    def wait_told(self) -> None:
        """Returns when whatever is told of versions is told: to their models, and to admission.

        Both are put off for a moment, in which the operator is not busy: it would write them after its next start.
        """
        self.wait_counted()

        def told() -> bool:
            cleared = {
                (stage, body["spec"]["artifact"]["uri"])
                for body in self.all("ModelVersion")
                for stage in body["status"].get("clearedFor", ())
            }
            return cleared == {(each["stage"], uri) for each in self.vetted() for uri in each["artifacts"]}

        until(told, what="admission is not told what is cleared")

    def vetted(self) -> list[Manifest]:
        """The specs of what admission is told of the bucket: one a stage, each written by itself."""
        found = [body["spec"] for body in self.kube.request("GET", f"{API}/vettedartifacts")["items"]]
        return [spec for spec in found if spec["bucket"] == self.bucket]

    def templates(self) -> list[str]:
        """Names of the serving templates in the namespace."""
        found = self.all("ConfigMap")
        return sorted(each["metadata"]["name"] for each in found if each["metadata"]["name"].endswith("-serving"))

    def phase(self, name: str, phase: str, *, seconds: float = PATIENCE) -> Manifest:
        """The version as soon as its current generation has the phase; its status conforms to kstatus."""

        def reached(found: Manifest) -> bool:
            status = found["status"]
            return (status.get("phase"), status.get("observedGeneration")) == (phase, found["metadata"]["generation"])

        found = self.wait(name, reached, seconds=seconds, what=f"is not {phase!r}")
        assert not kstatus(found), (kstatus(found), found)
        return found

    def ready(self, name: str = "granite-1", *, seconds: float = PATIENCE) -> Manifest:
        """The version as soon as it is Ready to Deploy."""
        return self.phase(name, "Ready to Deploy", seconds=seconds)

    def events(self, name: str, *, at_least: int, kind: str = "ModelVersion") -> list[str]:
        """Reasons of the Events about an object, in their order. They are posted after the status is written."""

        def probe() -> list[Manifest] | None:
            about = [
                event
                for event in self.all("Event")
                if (event["involvedObject"]["kind"], event["involvedObject"]["name"]) == (kind, name)
            ]
            return about if len(about) >= at_least else None

        found = until(probe, what=f"{kind} {name} has not {at_least} Events")
        return [
            f"{event['type']} {event['reason']}"
            for event in sorted(found, key=lambda event: int(event["metadata"]["resourceVersion"]))
        ]

    # artifacts

    def upload(self, prefix: str = "granite-1", files: Mapping[str, bytes] = MINIATURE) -> Mapping[str, bytes]:
        """Puts files below a prefix of the bucket."""
        for name, content in files.items():
            self.store.put_object(Bucket=self.bucket, Key=f"{prefix}/{name}", Body=content)
        return files

    # rows

    def rows(self, operator: Operator, table: str = "model_versions") -> list[dict[str, Any]]:
        """The rows of the registry, by id."""
        statement = text(f"SELECT * FROM {table} WHERE registry = :registry ORDER BY 1")  # noqa: S608 - a test's table
        return self.query(operator, statement, registry=f"{self.namespace}/registry")

    def history(self, operator: Operator, version: str = "granite-1") -> list[str]:
        """The states that a version went through."""
        statement = text(
            "SELECT h.state_after FROM history h JOIN model_versions v ON h.version_id = v.id "
            "WHERE v.registry = :registry AND v.version = :version ORDER BY h.id"
        )
        found = self.query(operator, statement, registry=f"{self.namespace}/registry", version=version)
        return [row["state_after"] for row in found]

    def files(self, operator: Operator, version: str = "granite-1") -> dict[str, str]:
        """SHA-256 by path of the files of a version."""
        return {
            row["path"]: row["sha256"] for row in self.rows(operator, "artifact_files") if row["version"] == version
        }

    def query(self, operator: Operator, statement: Any, **parameters: Any) -> list[dict[str, Any]]:
        """Rows of a statement against the registry's database."""
        with contextlib.closing(_Engine(self.database_url(operator))) as engine:
            return engine.query(statement, parameters)

    def database_url(self, operator: Operator) -> str:
        """The registry's database in SQLAlchemy's form."""
        if self.database is not None:
            return self.database.url
        return f"sqlite:///{operator.data_dir / f'{self.namespace}.registry.db'}"

    def _object(self, kind: str, name: str, spec: Manifest) -> Manifest:
        metadata = {"name": name, "namespace": self.namespace}
        return {"apiVersion": "gatehouse.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec}


class _Engine:
    def __init__(self, url: str) -> None:
        self._engine = create_engine(url)

    def query(self, statement: Any, parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
        with self._engine.begin() as connection:
            answer = connection.execute(statement, parameters)
            return [dict(row) for row in answer.mappings()] if answer.returns_rows else []

    def close(self) -> None:
        self._engine.dispose()


@contextlib.contextmanager
def make_world(
    plane: RunningControlPlane,
    endpoint: S3Endpoint,
    *,
    database: LocalDatabase | None = None,
    namespace: str | None = None,
    **verification: Any,
) -> Iterator[World]:
    """A fresh namespace with its bucket and the Secrets of its registry; both go at the end."""
    name = namespace or f"test-{secrets.token_hex(4)}"
    with contextlib.ExitStack() as stack:
        kube, operator = (
            stack.enter_context(contextlib.closing(plane.client(user))) for user in (ADMIN, OPERATOR_USER)
        )
        store = stack.enter_context(contextlib.closing(open_store(endpoint)))
        world = World(kube, operator, name, name, store, endpoint, database, dict(verification))
        kube.apply(namespace_manifest(name))
        kube.apply(registry_access(name, operator_user=OPERATOR_USER))
        store.create_bucket(Bucket=name)
        world.secrets()
        try:
            yield world
        finally:
            # What a failing test left would keep the operators of the tests after it busy.
            # A bucket has one endpoint in a cluster: the next world may have this one somewhere else.
            kube.request("DELETE", f"{API}/namespaces/{name}/modelregistries")
            kube.request("DELETE", f"/api/v1/namespaces/{name}")


def clear_text(url: str) -> Mapping[str, str]:
    """What says that a store without TLS may be used."""
    return {} if url.startswith("https://") else {"tls": "Disabled"}


def secret(name: str, namespace: str, values: Mapping[str, str]) -> Manifest:
    """A Secret."""
    data = {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}
    metadata = {"name": name, "namespace": namespace, "labels": {"gatehouse.dev/use": "registry"}}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data}
