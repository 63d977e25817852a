"""How ``gatehouse template`` and ``gatehouse promote`` print a serving template."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from gatehouse.printing import stdout

if TYPE_CHECKING:
    from gatehouse.domain.serving.template import ServingTemplate

__all__ = ["print_manifest", "print_template"]


def print_manifest(body: Mapping[str, Any], output: Literal["yaml", "json"]) -> None:
    """Prints one object."""
    from gatehouse.domain.serving.template import to_yaml

    if output == "json":
        stdout().data(body)
    else:
        stdout().documents([to_yaml(body)])


def print_template(template: ServingTemplate, output: Literal["yaml", "json"]) -> None:
    """Prints the runtime and the service as YAML documents, or as a List in JSON."""
    from gatehouse.domain.serving.template import to_yaml

    objects = (template.serving_runtime, template.inference_service)
    if output == "json":
        stdout().data({"apiVersion": "v1", "kind": "List", "items": [dict(body) for body in objects]})
    else:
        stdout().documents(to_yaml(body) for body in objects)
