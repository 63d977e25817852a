"""Manifests of models and versions as data and YAML, and objects declared in a folder of YAML files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from gatehouse.api.hardware_profile import HardwareProfile
from gatehouse.api.meta import GROUP, VERSION, ObjectReference, Resource, Struct
from gatehouse.api.model_version import ModelVersion, ModelVersionSpec
from gatehouse.api.registered_model import RegisteredModel, RegisteredModelSpec
from gatehouse.domain.common import bounded_yaml
from gatehouse.domain.common.format_error import FormatError, shown
from gatehouse.domain.serving.template import JsonObject, to_yaml
from gatehouse.errors import InputInvalid

__all__ = [
    "Declared",
    "declared",
    "in_namespace",
    "in_registry",
    "load_folder",
    "manifests_yaml",
    "model_version_manifest",
    "registered_model_manifest",
    "registry_reference",
    "spec_wire",
    "submitted",
]

_KINDS: Final[Mapping[str, type[Resource]]] = {
    kind.info.kind: kind for kind in (HardwareProfile, RegisteredModel, ModelVersion)
}
"""The kinds that may be published, in the order of their apply: a version names its profile and its model."""

_NOT_OBJECTS: Final = frozenset({"kustomization.yaml", "kustomization.yml"})
_LARGEST_FILE: Final = 4_194_304


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """One object to apply. ``namespace`` is empty for a cluster-wide kind; ``source`` is the file of the object."""

    kind: type[Resource]
    namespace: str
    name: str
    body: JsonObject
    source: str = ""

    @property
    def key(self) -> tuple[str, str, str]:
        """Plural of the kind, namespace and name."""
        return self.kind.info.plural, self.namespace, self.name

    def __str__(self) -> str:
        return f"{self.kind.info.kind} {self.namespace}/{self.name}".replace(" /", " ")


def load_folder(folder: Path) -> tuple[Declared, ...]:
    """Every object in the ``*.yaml`` files of a folder, profiles first, then models, then versions.

    Raises InputInvalid for a folder without objects, an unreadable file, another kind, and a duplicate object.
    """
    paths = sorted(path for path in folder.glob("*.y*ml") if path.name not in _NOT_OBJECTS)
    found = sorted(
        (each for path in paths for each in _in_file(path)), key=lambda each: list(_KINDS).index(each.kind.info.kind)
    )
    if not found:
        raise InputInvalid(f"no manifests in {folder}; expected: *.yaml files with {', '.join(_KINDS)}")
    seen: dict[tuple[str, str, str], Declared] = {}
    for each in found:
        first = seen.setdefault(each.key, each)
        if first is not each:
            raise InputInvalid(f"{each} is declared twice, in {first.source} and in {each.source}; remove one")
    return tuple(found)


def declared(body: JsonObject, *, source: str = "") -> Declared:
    """One object from a file or a flag.

    Raises InputInvalid for another kind, and for a body that the schema of the kind forbids.
    """
    kind, where = _KINDS.get(str(body.get("kind"))), source or "a manifest"
    if kind is None or body.get("apiVersion") != f"{GROUP}/{VERSION}":
        raise InputInvalid(
            f"{where}: {shown(body.get('apiVersion'))} {shown(body.get('kind'))}; "
            f"expected: {GROUP}/{VERSION} and one of {', '.join(_KINDS)}"
        )
    try:
        parsed = kind.model_validate(body)
    except ValidationError as error:
        raise InputInvalid(f"{where}: {_first(error)}") from error
    metadata = parsed.metadata
    if not metadata.name:
        raise InputInvalid(f"{where}: a {kind.info.kind} without metadata.name")
    if kind.info.namespaced and not metadata.namespace:
        raise InputInvalid(f"{where}: {kind.info.kind} {metadata.name} has no metadata.namespace; name one")
    namespace = metadata.namespace if kind.info.namespaced else ""
    return Declared(kind=kind, namespace=namespace, name=metadata.name, body=body, source=source)


def in_namespace(objects: Iterable[Declared], namespace: str) -> tuple[Declared, ...]:
    """The objects, moved to another namespace. Cluster-wide objects stay as they are."""
    return tuple(_moved(each, namespace) if each.namespace else each for each in objects)


def in_registry(objects: Iterable[Declared], registry: ObjectReference) -> tuple[Declared, ...]:
    """The objects; each model names this registry."""
    wire = registry.wire()
    return tuple(
        replace(each, body={**each.body, "spec": {**each.body.get("spec", {}), "registryRef": wire}})
        if each.kind is RegisteredModel
        else each
        for each in objects
    )


def registry_reference(text: str, *, flag: str) -> ObjectReference:
    """The ModelRegistry of ``NAMESPACE/NAME`` or ``NAME``. Raises InputInvalid, which names the flag."""
    namespace, slash, name = text.partition("/")
    try:
        return ObjectReference(namespace=namespace, name=name) if slash else ObjectReference(name=namespace)
    except ValidationError:
        raise InputInvalid(f"{flag} is {text!r}; expected: NAMESPACE/NAME of a ModelRegistry") from None


def submitted(objects: Iterable[Declared], *, by: str, via: str) -> tuple[Declared, ...]:
    """The objects. Each version without an author gets the author ``by``, submitted via ``via``."""
    authors = {"submittedBy": by} | ({} if by == via else {"submittedVia": via})
    return tuple(
        replace(each, body={**each.body, "spec": {**authors, **each.body.get("spec", {})}})
        if each.kind is ModelVersion
        else each
        for each in objects
    )


def _moved(each: Declared, namespace: str) -> Declared:
    body = {**each.body, "metadata": {**each.body["metadata"], "namespace": namespace}}
    return replace(each, namespace=namespace, body=body)


def _in_file(path: Path) -> Iterator[Declared]:
    try:
        with path.open("rb") as file:
            data = file.read(_LARGEST_FILE + 1)
        documents = bounded_yaml.load_documents(data, what=str(path), max_bytes=_LARGEST_FILE)
    except OSError as error:
        raise InputInvalid(f"{path} cannot be read: {error.strerror}") from error
    except FormatError as error:
        raise InputInvalid(str(error)) from error
    for document in documents:
        if document is None:
            continue
        if not isinstance(document, dict):
            raise InputInvalid(f"{path}: {shown(document)}; expected: Kubernetes objects")
        yield declared(document, source=str(path))


def _first(error: ValidationError) -> str:
    details: Any = error.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(str(part) for part in details['loc'])}: {details['msg']}"


def registered_model_manifest(*, name: str, spec: RegisteredModelSpec, namespace: str | None = None) -> JsonObject:
    """A RegisteredModel. Without a namespace, kubectl chooses the namespace."""
    return _manifest(RegisteredModel, name=name, namespace=namespace, spec=spec)


def model_version_manifest(*, name: str, spec: ModelVersionSpec, namespace: str | None = None) -> JsonObject:
    """A ModelVersion. Without a namespace, kubectl chooses the namespace."""
    return _manifest(ModelVersion, name=name, namespace=namespace, spec=spec)


def manifests_yaml(manifests: Iterable[JsonObject]) -> str:
    """The manifests as YAML documents, for ``kubectl apply -f -`` or a Git repository."""
    return "---\n".join(to_yaml(manifest) for manifest in manifests)


def spec_wire(spec: Struct) -> dict[str, Any]:
    """The fields that were set, as Kubernetes JSON, without defaults, None and empty values."""
    return _without_empty(spec.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude_none=True))


def _manifest(kind: type[Resource], *, name: str, namespace: str | None, spec: Struct) -> JsonObject:
    metadata = {"name": name} | ({"namespace": namespace} if namespace else {})
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": kind.info.kind,
        "metadata": metadata,
        "spec": spec_wire(spec),
    }


def _without_empty(value: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: _without_empty(each) if isinstance(each, Mapping) else each for key, each in value.items()}
    return {key: each for key, each in kept.items() if each not in ({}, [])}
