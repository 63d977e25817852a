"""Typed reads from the cache, and what a reference of one object to another leads to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TypeVar

from gatehouse.api.governance_policy import GovernancePolicy
from gatehouse.api.hardware_profile import HardwareProfile
from gatehouse.api.meta import ANNOTATION_DEFAULT_REGISTRY, KindInfo, Resource
from gatehouse.api.model_registry import ModelRegistry
from gatehouse.api.model_version import ModelVersion
from gatehouse.api.registered_model import RegisteredModel
from gatehouse.controllers.indexes import BY_VERSION, DEFAULT, IS_DEFAULT, version_key
from gatehouse.controllers.ports import ObjectReader
from gatehouse.domain.access import allows_namespace, store_for
from gatehouse.domain.facts import Unmet
from gatehouse.domain.policy import CompiledPolicy, applying, compile_policy

__all__ = ["Objects"]

R = TypeVar("R", bound=Resource)


class _Namespace(Resource):
    info = KindInfo(
        kind="Namespace", plural="namespaces", singular="namespace", short="ns", namespaced=False, columns=()
    )


class Objects:
    """Reads registries, models and profiles as their types.

    Thousands of versions share them, so each is parsed once a resourceVersion.
    """

    def __init__(self, reader: ObjectReader) -> None:
        self._reader = reader
        self._parsed: dict[tuple[str, str, str], tuple[str, Resource]] = {}
        self._compilations: dict[str, CompiledPolicy] = {}

    @property
    def reader(self) -> ObjectReader:
        """The cache below."""
        return self._reader

    def get(self, kind: type[R], namespace: str, name: str) -> R | None:
        """The object, or None when it is not there."""
        key = (kind.info.plural, namespace, name)
        revision = self._reader.revision(*key)
        if revision is None:
            self._parsed.pop(key, None)
            return None
        known = self._parsed.get(key)
        if known is not None and known[0] == revision and isinstance(known[1], kind):
            return known[1]
        body = self._reader.get(*key)
        if body is None:
            return None
        parsed = kind.model_validate(body)
        self._parsed[key] = (revision, parsed)
        return parsed

    def model_of(self, version: ModelVersion) -> RegisteredModel | Unmet:
        """The RegisteredModel that a version names, in its own namespace."""
        namespace, name = version.metadata.namespace, version.spec.model_ref.name
        model = self.get(RegisteredModel, namespace, name)
        if model is not None and model.metadata.deletion_timestamp is None:
            return model
        return Unmet(
            reason="ModelNotFound",
            found=f"no RegisteredModel {name} in namespace {namespace}",
            wanted=f"the RegisteredModel {namespace}/{name}",
            remedy="apply the RegisteredModel, or mend spec.modelRef in a new ModelVersion",
        )

    def profile_of(self, version: ModelVersion) -> HardwareProfile | Unmet:
        """The HardwareProfile that a version names."""
        name = version.spec.hardware_profile_ref.name
        profile = self.get(HardwareProfile, "", name)
        if profile is not None and profile.metadata.deletion_timestamp is None:
            return profile
        return Unmet(
            reason="ProfileNotFound",
            found=f"no HardwareProfile {name}",
            wanted=f"the HardwareProfile {name}",
            remedy="apply the HardwareProfile, or name one that `kubectl get hardwareprofiles` shows",
        )

    def policies(self) -> tuple[CompiledPolicy, ...]:
        """Every GovernancePolicy."""
        found = []
        for name in self._reader.names(GovernancePolicy.info.plural):
            policy = self.get(GovernancePolicy, name.namespace, name.name)
            if policy is not None and policy.metadata.deletion_timestamp is None:
                found.append(self.compiled(policy))
        return tuple(found)

    def compiled(self, policy: GovernancePolicy) -> CompiledPolicy:
        """The policy, compiled once a spec: a new status is no new rule."""
        known = self._compilations.get(policy.metadata.name)
        if known is not None and known.policy is policy:
            return known
        if known is not None and known.policy.spec == policy.spec:
            known = replace(known, policy=policy)
        else:
            known = compile_policy(policy)
        self._compilations[policy.metadata.name] = known
        return known

    def applying(
        self, policies: Iterable[CompiledPolicy], model: RegisteredModel | Unmet
    ) -> tuple[CompiledPolicy, ...]:
        """Those of the policies that apply to versions of a model."""
        if isinstance(model, Unmet):
            return ()
        return applying(policies, model, self._namespace_labels(model.metadata.namespace))

    def about(self, kind: type[R], version: ModelVersion) -> tuple[R, ...]:
        """The approvals or evaluations that name a version."""
        key = version_key(version.metadata.namespace, version.metadata.name)
        names = self._reader.select(kind.info.plural, BY_VERSION, key)
        found = (self.get(kind, name.namespace, name.name) for name in sorted(names))
        return tuple(each for each in found if each is not None and each.metadata.deletion_timestamp is None)

    def registry_of(self, model: RegisteredModel | Unmet) -> ModelRegistry | Unmet:
        """The registry that keeps a model, if it is there and allows the model's namespace."""
        if isinstance(model, Unmet):
            return model
        reference = model.spec.registry_ref
        if reference is None:
            found = self._default_registry()
        else:
            found = self._named_registry(reference.namespace or model.metadata.namespace, reference.name)
        if isinstance(found, Unmet):
            return found
        return _allowed(found, model.metadata.namespace, self._namespace_labels(model.metadata.namespace))

    def registry_of_version(self, version: ModelVersion, model: RegisteredModel | Unmet) -> ModelRegistry | Unmet:
        """The registry that keeps a version, if one of its object stores also has the version's URI."""
        registry = self.registry_of(model)
        uri = version.spec.artifact.uri
        if isinstance(registry, Unmet) or store_for(registry, uri) is not None:
            return registry
        prefixes = ", ".join(store.uri_prefix for store in registry.spec.object_stores) or "none"
        return Unmet(
            reason="UriOutsideRegistry",
            found=f"artifact.uri {uri} is in no object store of registry {_full_name(registry)}",
            wanted=f"a URI below one of: {prefixes}",
            remedy="put the artifact into one of these stores, or have the platform team add the store to the registry",
            needs_person=True,
        )

    def _named_registry(self, namespace: str, name: str) -> ModelRegistry | Unmet:
        registry = self.get(ModelRegistry, namespace, name)
        if registry is not None and registry.metadata.deletion_timestamp is None:
            return registry
        return Unmet(
            reason="RegistryNotFound",
            found=f"no ModelRegistry {namespace}/{name}",
            wanted=f"the ModelRegistry {namespace}/{name}",
            remedy="apply the ModelRegistry, or name one that `kubectl get modelregistries -A` shows",
        )

    def _default_registry(self) -> ModelRegistry | Unmet:
        names = self._reader.select(ModelRegistry.info.plural, DEFAULT, IS_DEFAULT)
        if len(names) == 1:
            return self._named_registry(names[0].namespace, names[0].name)
        listed = ", ".join(sorted(f"{name.namespace}/{name.name}" for name in names))
        return Unmet(
            reason="RegistryNotFound" if not names else "DefaultRegistryAmbiguous",
            found="no ModelRegistry is the default one" if not names else f"several default registries: {listed}",
            wanted=f"exactly one ModelRegistry annotated {ANNOTATION_DEFAULT_REGISTRY}={IS_DEFAULT}",
            remedy="annotate one, or name the registry in spec.registryRef of the RegisteredModel",
        )

    def _namespace_labels(self, namespace: str) -> Mapping[str, str] | None:
        found = self.get(_Namespace, "", namespace)
        return None if found is None else found.metadata.labels


def _allowed(registry: ModelRegistry, namespace: str, labels: Mapping[str, str] | None) -> ModelRegistry | Unmet:
    if allows_namespace(registry, namespace, labels):
        return registry
    return Unmet(
        reason="NamespaceNotAllowed",
        found=f"registry {_full_name(registry)} does not keep models of namespace {namespace}",
        wanted=f"a namespace that spec.allowedNamespaces (from: {registry.spec.allowed_namespaces.from_}) lets in",
        remedy="use a registry that allows this namespace, or have the platform team allow it",
        needs_person=True,
    )


def _full_name(registry: ModelRegistry) -> str:
    return f"{registry.metadata.namespace}/{registry.metadata.name}"
