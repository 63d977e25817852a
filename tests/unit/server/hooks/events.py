"""Events of object stores, and a registry with two stores."""

from __future__ import annotations

from typing import Any

from gatehouse.api.model_registry import ModelRegistry

__all__ = ["REGISTRY", "record"]

REGISTRY = ModelRegistry.model_validate(
    {
        "metadata": {"name": "registry", "namespace": "models"},
        "spec": {
            "objectStores": [
                {"uriPrefix": "s3://models/", "endpoint": "https://s3.example.com"},
                {"uriPrefix": "s3://shared/team/", "endpoint": "https://s3.example.com"},
            ]
        },
    }
)


def record(key: str, bucket: str = "models") -> dict[str, Any]:
    return {"eventName": "s3:ObjectCreated:Put", "s3": {"bucket": {"name": bucket}, "object": {"key": key}}}
