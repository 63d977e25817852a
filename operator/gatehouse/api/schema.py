"""Renders the CustomResourceDefinitions from the kinds' types.

Pydantic writes JSON Schema. Kubernetes requires a structural OpenAPI v3 schema: no ``$ref``, no ``anyOf`` with null,
and a type on every node. This module inlines references, drops keywords that Kubernetes rejects, and adds CEL rules,
list types and printer columns.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import yaml

from gatehouse.api import KINDS
from gatehouse.api.meta import GROUP, VERSION, CelRule, Resource, Struct

__all__ = ["crd", "file_name", "folder", "openapi_schema", "render"]

_KEPT = frozenset(
    {
        "type",
        "format",
        "description",
        "default",
        "enum",
        "pattern",
        "minLength",
        "maxLength",
        "minimum",
        "maximum",
        "minItems",
        "maxItems",
        "minProperties",
        "maxProperties",
        "required",
    }
)
_KUBERNETES = "x-kubernetes-"
_LARGEST = {"int32": 2**31 - 1, "int64": 2**53 - 1}
"""The largest integers that every reader of JSON represents exactly."""


class _PlainDumper(yaml.SafeDumper):
    """Writes repeated values in full: anchors are hard to read in a CRD."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 - the signature is PyYAML's
        return True


def render() -> dict[str, str]:
    """File name to YAML text of every CRD."""
    return {file_name(kind): _yaml(crd(kind)) for kind in KINDS}


def folder() -> dict[str, str]:
    """File name to text of the folder ``crds/``: every CRD, and the Kustomization that names them all."""
    crds = render()
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": sorted(crds),
    }
    return {**crds, "kustomization.yaml": _yaml(kustomization)}


def _yaml(document: Mapping[str, Any]) -> str:
    header = "# Generated from operator/gatehouse/api by `make crds`. Do not edit.\n"
    return header + yaml.dump(dict(document), Dumper=_PlainDumper, sort_keys=False, width=110, allow_unicode=True)


def file_name(kind: type[Resource]) -> str:
    """Name of the file in ``crds/``."""
    return f"{kind.info.plural}.yaml"


def crd(kind: type[Resource]) -> dict[str, Any]:
    """The CustomResourceDefinition of a kind as Kubernetes JSON."""
    info = kind.info
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{info.plural}.{GROUP}", "labels": {"app.kubernetes.io/part-of": "gatehouse"}},
        "spec": {
            "group": GROUP,
            "names": {
                "kind": info.kind,
                "listKind": f"{info.kind}List",
                "plural": info.plural,
                "singular": info.singular,
                "shortNames": [info.short],
                "categories": ["gatehouse"],
            },
            "scope": "Namespaced" if info.namespaced else "Cluster",
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": openapi_schema(kind)},
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": [
                        {
                            "name": column.name,
                            "type": column.type,
                            "jsonPath": column.path,
                            **({"priority": 1} if column.wide else {}),
                        }
                        for column in info.columns
                    ],
                }
            ],
        },
    }


def openapi_schema(kind: type[Resource]) -> dict[str, Any]:
    """The structural schema of a kind: ``apiVersion``, ``kind``, ``metadata``, ``spec`` and ``status``."""
    generated = kind.model_json_schema(by_alias=True, mode="validation")
    definitions = generated.get("$defs", {})
    rules = {struct.__name__: struct.rules for struct in _structs(Struct) if struct.rules}
    spec = _without_defaults_in_lists(_structural(generated["properties"]["spec"], definitions, rules))
    status = _structural(generated["properties"]["status"], definitions, rules)
    # kstatus holds an object for in progress until its status names its generation.
    status["default"] = {"observedGeneration": -1}
    status["description"] = "Facts that Gatehouse established. Only the operator writes the status."
    # One writer owns all of it, so that managedFields need not name each field: they would be as large as the status.
    status["x-kubernetes-map-type"] = "atomic"
    spec["description"] = "Desired state that the author declares."
    return {
        "description": generated.get("description", ""),
        "type": "object",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string", "description": f"Version of the kind: {GROUP}/{VERSION}."},
            "kind": {"type": "string", "description": f"Name of the kind: {kind.info.kind}."},
            "metadata": {"type": "object"},
            "spec": spec,
            "status": status,
        },
    }


def _structs(base: type[Struct]) -> list[type[Struct]]:
    return [base, *(found for child in base.__subclasses__() for found in _structs(child))]


def _structural(
    node: dict[str, Any], definitions: dict[str, Any], rules: dict[str, tuple[CelRule, ...]]
) -> dict[str, Any]:
    node = _without_null(node)
    validations: list[dict[str, str]] = list(node.get(f"{_KUBERNETES}validations", ()))
    if "$ref" in node:
        name = node["$ref"].rsplit("/", 1)[-1]
        validations += [asdict(rule) for rule in rules.get(name, ())]
        node = {**definitions[name], **{key: value for key, value in node.items() if key != "$ref"}}
    out: dict[str, Any] = {key: node[key] for key in _KEPT if key in node and node[key] is not None}
    out |= {
        key: value for key, value in node.items() if key.startswith(_KUBERNETES) and not key.endswith("validations")
    }
    if "const" in node:
        out["enum"] = [node["const"]]
    if out.get("type") == "object":
        out |= _object_members(node, definitions, rules)
    if "items" in node:
        out["items"] = _structural(node["items"], definitions, rules)
    if out.get("type") == "integer":
        out.setdefault("format", "int64" if out.get("maximum", 0) > 2**31 - 1 else "int32")
        # The API server checks no format of numbers: without bounds it takes a count that no program can hold.
        largest = _LARGEST[out["format"]]
        out.setdefault("minimum", -largest)
        out.setdefault("maximum", largest)
    if validations:
        out[f"{_KUBERNETES}validations"] = validations
    return _ordered(out)


def _object_members(
    node: dict[str, Any], definitions: dict[str, Any], rules: dict[str, tuple[CelRule, ...]]
) -> dict[str, Any]:
    # The API server leaves out an empty map of properties, and Argo CD would see a difference.
    if node.get("properties"):
        members = {name: _structural(child, definitions, rules) for name, child in node["properties"].items()}
        return {"properties": members}
    values = node.get("additionalProperties")
    if isinstance(values, dict):
        return {"additionalProperties": _structural(values, definitions, rules)}
    return {}


def _without_defaults_in_lists(node: dict[str, Any], *, listed: bool = False) -> dict[str, Any]:
    """Leave out the defaults of items in lists: the types know the defaults.

    A client that compares without the schema replaces lists whole: each default that the API server adds to an item
    is a difference from Git to that client.
    """
    out = {key: value for key, value in node.items() if not (listed and key == "default")}
    if "properties" in out:
        members = out["properties"].items()
        out["properties"] = {name: _without_defaults_in_lists(child, listed=listed) for name, child in members}
    if isinstance(values := out.get("additionalProperties"), dict):
        out["additionalProperties"] = _without_defaults_in_lists(values, listed=listed)
    if "items" in out:
        out["items"] = _without_defaults_in_lists(out["items"], listed=True)
    return out


def _without_null(node: dict[str, Any]) -> dict[str, Any]:
    """Kubernetes leaves absent fields out instead of giving them null: an optional type is the type itself."""
    branches = [branch for branch in node.get("anyOf", ()) if branch.get("type") != "null"]
    if len(branches) != 1:
        return node
    rest = {key: value for key, value in node.items() if key not in {"anyOf", "default"}}
    return {**branches[0], **rest}


def _ordered(node: dict[str, Any]) -> dict[str, Any]:
    first = ("description", "type", "format", "default", "enum")
    return {key: node[key] for key in (*first, *sorted(node.keys() - set(first))) if key in node}
