"""Typed reads from the cache, and the objects that references between objects lead to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import TypeVar

from gatehouse.api.governance_policy import GovernancePolicy
from gatehouse.api.hardware_profile import HardwareProfile
from gatehouse.api.meta import ANNOTATION_DEFAULT_REGISTRY, KindInfo, Resource
from gatehouse.api.model_approval import ModelApproval
from gatehouse.api.model_registry import ModelRegistry
from gatehouse.api.model_version import ModelVersion
from gatehouse.api.registered_model import RegisteredModel
from gatehouse.api.wire import APPROVAL_DECISION, DECIDED_VERSION_UID
from gatehouse.controllers.faults import Faults
from gatehouse.controllers.indexes import BY_VERSION, DEFAULT, IS_DEFAULT, version_key
from gatehouse.controllers.ports import ObjectName, ObjectReader
from gatehouse.domain.common.finding import Finding
from gatehouse.domain.common.locations import allows_namespace, store_for
from gatehouse.domain.common.readable import UNREADABLE, Unreadable, member, read
from gatehouse.domain.governance.held import Held, held_under
from gatehouse.domain.governance.policy import CompiledPolicy, applying, stand_in
from gatehouse.domain.version.facts import Unmet

__all__ = ["Objects"]

R = TypeVar("R", bound=Resource)


class _Namespace(Resource):
    info = KindInfo(
        kind="Namespace", plural="namespaces", singular="namespace", short="ns", namespaced=False, columns=()
    )


class Objects:
    """Reads registries, models and profiles as their types.

    Thousands of versions share these objects, so each object is parsed once for each resourceVersion. An unreadable
    object counts as absent, and callers can report why.
    """

    def __init__(self, reader: ObjectReader, faults: Faults | None = None) -> None:
        self._reader = reader
        self._faults = faults or Faults(reader)
        self._parsed: dict[tuple[str, str, str], tuple[str, Resource | Unreadable]] = {}
        self._policies: tuple[object, tuple[CompiledPolicy, ...]] | None = None

    @property
    def reader(self) -> ObjectReader:
        """The cache below."""
        return self._reader

    def get(self, kind: type[R], namespace: str, name: str) -> R | None:
        """The object; None when it is absent or unreadable."""
        resource = self.find(kind, namespace, name)
        return None if isinstance(resource, Unreadable) else resource

    def find(self, kind: type[R], namespace: str, name: str) -> R | Unreadable | None:
        """The object, why it is unreadable, or None when it is absent."""
        key = (kind.info.plural, namespace, name)
        revision = self._reader.revision(*key)
        if revision is None:
            self._parsed.pop(key, None)
            return None
        known = self._parsed.get(key)
        if known is not None and known[0] == revision and isinstance(known[1], kind | Unreadable):
            return known[1]
        body = self._reader.get(*key)
        if body is None:
            return None
        parsed = read(kind, body)
        if isinstance(parsed, Unreadable):
            self._faults.unreadable(kind.info.plural, parsed, revision=revision)
        self._parsed[key] = (revision, parsed)
        return parsed

    def model_of(self, version: ModelVersion) -> RegisteredModel | Unmet:
        """The RegisteredModel that a version names, in its own namespace."""
        return self._named(
            RegisteredModel,
            version.metadata.namespace,
            version.spec.model_ref.name,
            reason="ModelNotFound",
            remedy="apply the RegisteredModel, or fix spec.modelRef in a new ModelVersion",
        )

    def profile_of(self, version: ModelVersion) -> HardwareProfile | Unmet:
        """The HardwareProfile that a version names."""
        return self._named(
            HardwareProfile,
            "",
            version.spec.hardware_profile_ref.name,
            reason="ProfileNotFound",
            remedy="apply the HardwareProfile, or name one that `kubectl get hardwareprofiles` shows",
        )

    def _named(self, kind: type[R], namespace: str, name: str, *, reason: str, remedy: str) -> R | Unmet:
        """The object of that name, unless it is absent, unreadable or being deleted."""
        named = self.find(kind, namespace, name)
        if isinstance(named, Unreadable):
            return _unreadable(named)
        if named is not None and named.metadata.deletion_timestamp is None:
            return named
        what = f"{kind.info.kind} {namespace}/{name}" if namespace else f"{kind.info.kind} {name}"
        return Unmet(finding=Finding(reason=reason, found=f"no {what}", expected=f"the {what}", remedy=remedy))

    def policies(self) -> tuple[CompiledPolicy, ...]:
        """Every GovernancePolicy. An unreadable policy denies every version that it may apply to."""
        names = self._reader.names(GovernancePolicy.info.plural)
        revisions = tuple((name, self._reader.revision(GovernancePolicy.info.plural, *name)) for name in names)
        if self._policies is None or self._policies[0] != revisions:
            self._policies = revisions, tuple(self._compiled(names))
        return self._policies[1]

    def _compiled(self, names: Iterable[ObjectName]) -> Iterator[CompiledPolicy]:
        for name in names:
            policy = self.find(GovernancePolicy, name.namespace, name.name)
            if isinstance(policy, Unreadable):
                body = self._reader.get(GovernancePolicy.info.plural, name.namespace, name.name) or {}
                if not (body.get("metadata") or {}).get("deletionTimestamp"):
                    yield stand_in(policy, body)
            elif policy is not None and policy.metadata.deletion_timestamp is None:
                yield CompiledPolicy(policy)

    def applying(
        self,
        policies: Iterable[CompiledPolicy],
        model: RegisteredModel | Unmet,
        registry: ModelRegistry | Unmet,
        held: Held,
    ) -> tuple[CompiledPolicy, ...]:
        """The policies that apply to versions of a model, and those that the versions were held to before."""
        if isinstance(model, Unmet) or isinstance(registry, Unmet):
            return ()
        known = tuple(policies)
        return applying(
            known,
            model,
            self._namespace_labels(model.metadata.namespace),
            tier=held_under(held, model, registry).risk_tier,
            held=held.names(known),
        )

    def about(self, kind: type[R], version: ModelVersion) -> tuple[tuple[R, ...], tuple[Unreadable, ...]]:
        """The approvals or evaluations that name a version, and those of them that are unreadable."""
        key = version_key(version.metadata.namespace, version.metadata.name)
        names = self._reader.select(kind.info.plural, BY_VERSION, key)
        readable: list[R] = []
        unreadable: list[Unreadable] = []
        for name in sorted(names):
            decision = self.find(kind, name.namespace, name.name)
            if isinstance(decision, Unreadable):
                unreadable += self._about(decision, kind, version)
            elif decision is not None and decision.metadata.deletion_timestamp is None:
                readable.append(decision)
        return tuple(readable), tuple(unreadable)

    def _about(self, decision: Unreadable, kind: type[Resource], version: ModelVersion) -> Iterator[Unreadable]:
        """The object, unless it names an earlier version with the same name or is being deleted."""
        body = self._reader.get(kind.info.plural, decision.namespace, decision.name)
        if body is None or body["metadata"].get("deletionTimestamp"):
            return
        uid = member(body, *DECIDED_VERSION_UID)
        if not isinstance(uid, str) or uid == version.metadata.uid:
            refuses = kind is ModelApproval and member(body, *APPROVAL_DECISION) != "Approved"
            yield replace(decision, may_refuse=refuses)

    def registry_of(self, model: RegisteredModel | Unmet) -> ModelRegistry | Unmet:
        """The registry that keeps a model, if the registry exists and allows the model's namespace."""
        if isinstance(model, Unmet):
            return model
        reference = model.spec.registry_ref
        if reference is None:
            registry = self._default_registry()
        else:
            registry = self._named_registry(reference.namespace or model.metadata.namespace, reference.name)
        if isinstance(registry, Unmet):
            return registry
        return _allowed(registry, model.metadata.namespace, self._namespace_labels(model.metadata.namespace))

    def registry_of_version(self, version: ModelVersion, model: RegisteredModel | Unmet) -> ModelRegistry | Unmet:
        """The registry that keeps a version, if one of the registry's object stores has the version's URI."""
        registry = self.registry_of(model)
        uri = version.spec.artifact.uri
        if isinstance(registry, Unmet) or store_for(registry, uri) is not None:
            return registry
        prefixes = ", ".join(store.uri_prefix for store in registry.spec.object_stores) or "none"
        return Unmet(
            needs_person=True,
            finding=Finding(
                reason="UriOutsideRegistry",
                found=f"artifact.uri {uri} is in no object store of registry {_full_name(registry)}",
                expected=f"a URI below one of: {prefixes}",
                remedy="put the artifact into one of these stores, or have the platform team add the store to the "
                "registry",
            ),
        )

    def _named_registry(self, namespace: str, name: str) -> ModelRegistry | Unmet:
        return self._named(
            ModelRegistry,
            namespace,
            name,
            reason="RegistryNotFound",
            remedy="apply the ModelRegistry, or name one that `kubectl get modelregistries -A` shows",
        )

    def _default_registry(self) -> ModelRegistry | Unmet:
        names = self._reader.select(ModelRegistry.info.plural, DEFAULT, IS_DEFAULT)
        if len(names) == 1:
            return self._named_registry(names[0].namespace, names[0].name)
        listed = ", ".join(sorted(f"{name.namespace}/{name.name}" for name in names))
        return Unmet(
            finding=Finding(
                reason="RegistryNotFound" if not names else "DefaultRegistryAmbiguous",
                found="no ModelRegistry is the default one" if not names else f"several default registries: {listed}",
                expected=f"exactly one ModelRegistry annotated {ANNOTATION_DEFAULT_REGISTRY}={IS_DEFAULT}",
                remedy="annotate one, or name the registry in spec.registryRef of the RegisteredModel",
            )
        )

    def _namespace_labels(self, namespace: str) -> Mapping[str, str] | None:
        labelled = self.get(_Namespace, "", namespace)
        return None if labelled is None else labelled.metadata.labels


def _allowed(registry: ModelRegistry, namespace: str, labels: Mapping[str, str] | None) -> ModelRegistry | Unmet:
    if allows_namespace(registry, namespace, labels):
        return registry
    return Unmet(
        needs_person=True,
        finding=Finding(
            reason="NamespaceNotAllowed",
            found=f"registry {_full_name(registry)} does not keep models of namespace {namespace}",
            expected="a namespace that spec.allowedNamespaces "
            f"(from: {registry.spec.allowed_namespaces.from_}) lets in",
            remedy="use a registry that allows this namespace, or have the platform team allow it",
        ),
    )


def _unreadable(unreadable: Unreadable) -> Unmet:
    return Unmet(
        needs_person=True,
        finding=Finding(
            reason=UNREADABLE,
            found=unreadable.message,
            expected=f"{unreadable.subject} in a form that Gatehouse reads",
            remedy=f"fix that field of the {unreadable.kind} and apply it again",
        ),
    )


def _full_name(registry: ModelRegistry) -> str:
    return f"{registry.metadata.namespace}/{registry.metadata.name}"
