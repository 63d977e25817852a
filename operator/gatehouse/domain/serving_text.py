"""A template as YAML, and the ConfigMap that holds it."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, ClassVar, Final

import yaml

from gatehouse.api.meta import GROUP, VERSION, ObjectMeta
from gatehouse.domain import yamlbound
from gatehouse.domain.serving import JsonObject, ServingTemplate
from gatehouse.domain.serving_names import config_map_name, label_value

__all__ = [
    "ANNOTATION_TEMPLATE_DIGEST",
    "INFERENCE_SERVICE_KEY",
    "MANAGED_BY",
    "SERVING_RUNTIME_KEY",
    "TemplateWriter",
    "read_template",
    "to_yaml",
]

MANAGED_BY: Final = ("app.kubernetes.io/managed-by", "gatehouse")
"""Label that every template carries."""
INFERENCE_SERVICE_KEY: Final = "inferenceservice.yaml"
SERVING_RUNTIME_KEY: Final = "servingruntime.yaml"
ANNOTATION_TEMPLATE_DIGEST: Final = f"{GROUP}/template-digest"
_LARGEST_TEXT: Final = 262_144
_NOT_TEXT_TO_KUBECTL = re.compile(r"[-+]?\.?[0-9][0-9a-fA-FxXoObB_.:+-]*|[yYnN]", re.ASCII)
"""What Go's YAML takes for a number or a truth value and PyYAML does not, such as 1e3 and y; and more."""


def _text(dumper: yaml.representer.BaseRepresenter, text: str) -> yaml.Node:
    style = "'" if _NOT_TEXT_TO_KUBECTL.fullmatch(text) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


class _Dumper(yaml.CSafeDumper):
    """Writes repeated values out: kubectl reads anchors, people do not."""

    yaml_representers: ClassVar = {**yaml.CSafeDumper.yaml_representers, str: _text}

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002 - the signature is PyYAML's
        return True


def to_yaml(value: JsonObject) -> str:
    """A JSON object as block YAML with its keys in their order."""
    return str(yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1_000_000))


class TemplateWriter:
    """Writes templates out. The texts of the last few runtimes are kept, as most versions of a namespace share one."""

    def __init__(self, *, kept: int = 256) -> None:
        self._kept = kept
        self._runtimes: OrderedDict[tuple[str, str], str] = OrderedDict()

    def config_map(self, template: ServingTemplate, *, owner: ObjectMeta) -> dict[str, Any]:
        """The ConfigMap of the ModelVersion ``owner``, which it is deleted with."""
        metadata = template.inference_service["metadata"]
        shared = (f"{GROUP}/model", f"{GROUP}/version", f"{GROUP}/hardware-profile", f"{GROUP}/runtime")
        return {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": config_map_name(owner.name),
                "namespace": owner.namespace,
                "labels": {
                    MANAGED_BY[0]: MANAGED_BY[1],
                    f"{GROUP}/model-version": label_value(owner.name),
                    **{label: metadata["labels"][label] for label in shared},
                },
                "annotations": {
                    ANNOTATION_TEMPLATE_DIGEST: template.digest,
                    f"{GROUP}/artifact-digest": metadata["annotations"][f"{GROUP}/artifact-digest"],
                },
                "ownerReferences": [
                    {
                        "apiVersion": f"{GROUP}/{VERSION}",
                        "kind": "ModelVersion",
                        "name": owner.name,
                        "uid": owner.uid,
                        "controller": True,
                        "blockOwnerDeletion": False,
                    }
                ],
            },
            "data": {
                INFERENCE_SERVICE_KEY: to_yaml(template.inference_service),
                SERVING_RUNTIME_KEY: self._runtime(template),
            },
        }

    def _runtime(self, template: ServingTemplate) -> str:
        # The name of a runtime is a hash of its content.
        key = (template.namespace, str(template.serving_runtime["metadata"]["name"]))
        text = self._runtimes.pop(key, None) or to_yaml(template.serving_runtime)
        self._runtimes[key] = text
        if len(self._runtimes) > self._kept:
            self._runtimes.popitem(last=False)
        return text


def read_template(config_map: Mapping[str, Any]) -> ServingTemplate:
    """The template in a ConfigMap that :class:`TemplateWriter` made.

    Raises ValueError when it holds none, or one that is not what the digest in its annotations says.
    """
    data = config_map.get("data") or {}
    service, runtime = (_plain_object(data.get(key), key) for key in (INFERENCE_SERVICE_KEY, SERVING_RUNTIME_KEY))
    template = ServingTemplate(inference_service=service, serving_runtime=runtime)
    recorded = ((config_map.get("metadata") or {}).get("annotations") or {}).get(ANNOTATION_TEMPLATE_DIGEST)
    if template.digest != recorded:
        raise ValueError(f"the template is {template.digest}, but {ANNOTATION_TEMPLATE_DIGEST} says {recorded}")
    return template


def _plain_object(text: object, key: str) -> JsonObject:
    what = f"{key} of the ConfigMap"
    if not isinstance(text, str):
        raise ValueError(f"{what} is not there")  # noqa: TRY004 - a value from outside
    match yamlbound.load_documents(text.encode("utf-8", "surrogatepass"), what=what, max_bytes=_LARGEST_TEXT):
        case [dict(value)]:
            return value
        case _:
            raise ValueError(f"{what} is not one object")
