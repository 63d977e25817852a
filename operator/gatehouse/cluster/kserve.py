"""Reads a setting of the cluster's own KServe: the image of its storage initializer.

KServe reads the ConfigMap ``inferenceservice-config`` of its own namespace. Every user can create a ConfigMap of that
name in their own namespace, and on some platforms every user can create namespaces. This module therefore takes
KServe's namespace from the MutatingWebhookConfiguration, which is cluster-scoped. The API server itself sends
InferenceServices and Pods to that namespace.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

import orjson
import structlog
from pydantic import TypeAdapter, ValidationError

from gatehouse.api.model_registry import PinnedImage
from gatehouse.cluster.client import ApiClient, ApiError, ClusterError
from gatehouse.cluster.errors import to_reconcile_error

__all__ = ["CONFIG", "WEBHOOKS", "KubernetesKServe", "initializer_of", "namespace_of"]

CONFIG: Final = "inferenceservice-config"
WEBHOOKS: Final = "inferenceservice.serving.kserve.io"
_SECTION: Final = "storageInitializer"
_LARGEST: Final = 65_536
_IMAGE: Final[TypeAdapter[str]] = TypeAdapter(PinnedImage)

_log = structlog.get_logger(__name__)


class KubernetesKServe:
    """Implements the port ``KServeReader``."""

    def __init__(self, client: ApiClient) -> None:
        self._client = client

    async def initializer(self) -> str | None:
        """The image with which KServe loads models in Pods; None without KServe or without the setting.

        :raises ReconcileError: the API server does not answer, or refuses.
        """
        webhooks = await self._found("mutatingwebhookconfigurations", "", WEBHOOKS)
        namespace = namespace_of(webhooks or {})
        if namespace is None:
            return None
        image = initializer_of(await self._found("configmaps", namespace, CONFIG) or {})
        if image is None:
            _log.warning("KServe does not say which storage initializer it uses", namespace=namespace, name=CONFIG)
        return image

    async def _found(self, plural: str, namespace: str, name: str) -> Mapping[str, Any] | None:
        try:
            return await self._client.get(plural, namespace, name)
        except ClusterError as error:
            if isinstance(error, ApiError) and error.status == HTTPStatus.NOT_FOUND:
                return None
            raise to_reconcile_error(error, doing=f"reading {plural} {name}") from error


def namespace_of(webhooks: Mapping[str, Any]) -> str | None:
    """The one namespace to which a MutatingWebhookConfiguration sends requests; None for none or several."""
    namespaces = {_text(webhook, "clientConfig", "service", "namespace") for webhook in _list(webhooks.get("webhooks"))}
    return namespaces.pop() if len(namespaces) == 1 else None


def initializer_of(config: Mapping[str, Any]) -> str | None:
    """The image of the storage initializer in KServe's ConfigMap, with its tag or digest; None when invalid."""
    text = _text(config, "data", _SECTION) or ""
    try:
        section = orjson.loads(text if len(text) <= _LARGEST else "")
        return _IMAGE.validate_python(section.get("image") if isinstance(section, dict) else None)
    except (orjson.JSONDecodeError, ValidationError):
        return None


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _text(value: object, *path: str) -> str | None:
    for part in path:
        value = value.get(part) if isinstance(value, Mapping) else None
    return value if isinstance(value, str) and value else None
