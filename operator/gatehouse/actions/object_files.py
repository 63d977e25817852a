"""Policies and objects from files, as people write them and as ``kubectl get -o json`` prints them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from gatehouse.actions.objects import StoredObjects, parsed
from gatehouse.api.governance_policy import GovernancePolicy
from gatehouse.api.model_version import ModelVersion
from gatehouse.domain.common import bounded_json, bounded_yaml
from gatehouse.domain.common.format_error import FormatError, shown
from gatehouse.errors import Refused

__all__ = ["objects_of_file", "policies_of_file"]

_LARGEST_POLICY: Final = 1_048_576
_LARGEST_LIST: Final = 268_435_456
_MOST_ITEMS: Final = 20_000_000


def policies_of_file(path: Path) -> tuple[GovernancePolicy, ...]:
    """The GovernancePolicies of a YAML file. Raises Refused for a file without policies, or with other kinds."""
    documents = [document for document in _documents(path, largest=_LARGEST_POLICY) if document is not None]
    bodies = list(_objects(path, documents))
    strange = next((body for body in bodies if body.get("kind") != GovernancePolicy.info.kind), None)
    if strange is not None or not bodies:
        content = f"a {shown(strange.get('kind'))}" if strange is not None else "nothing"
        raise Refused(f"{path} holds {content}; expected: GovernancePolicies")
    try:
        return tuple(parsed(GovernancePolicy, body) for body in bodies)
    except Refused as refused:
        raise Refused(f"{path}: {refused}") from refused


def objects_of_file(path: Path) -> StoredObjects:
    """The objects of a file, as ``kubectl get mv,rm,mreg,gp,mev,ma,namespaces -A -o json`` prints them.

    Raises Refused for an unreadable file, and for a file without ModelVersions.
    """
    bodies = list(_objects(path, _documents(path, largest=_LARGEST_LIST)))
    if not any(body.get("kind") == ModelVersion.info.kind for body in bodies):
        raise Refused(
            f"{path} has no ModelVersion; expected: kubectl get mv,rm,mreg,gp,mev,ma,namespaces -A -o json > {path}"
        )
    return StoredObjects(bodies)


def _documents(path: Path, *, largest: int) -> Sequence[Any]:
    """The documents of a file. JSON is parsed as JSON, because the YAML parser takes minutes for a large file."""
    try:
        with path.open("rb") as file:
            data = file.read(largest + 1)
        if data.lstrip()[:1] == b"{":
            return [bounded_json.loads(data, what=str(path), max_bytes=largest, max_items=_MOST_ITEMS)]
        return bounded_yaml.load_documents(data, what=str(path), max_bytes=largest)
    except OSError as error:
        raise Refused(f"{path} cannot be read: {error.strerror}") from error
    except FormatError as error:
        raise Refused(str(error)) from error


def _objects(path: Path, documents: Iterable[Any]) -> Iterable[Mapping[str, Any]]:
    for document in documents:
        items = document.get("items") if isinstance(document, dict) else None
        for body in items if isinstance(items, list) else [document]:
            if body is None:
                continue
            if not isinstance(body, dict):
                raise Refused(f"{path}: {shown(body)}; expected: Kubernetes objects")
            yield body
