"""The kinds of the group ``gatehouse.dev/v1alpha1``."""

from __future__ import annotations

from gatehouse.api.hardware_profile import HardwareProfile
from gatehouse.api.meta import GROUP, VERSION, Condition, ObjectMeta, Resource
from gatehouse.api.model_registry import ModelRegistry
from gatehouse.api.model_version import ModelVersion
from gatehouse.api.registered_model import RegisteredModel

__all__ = [
    "GROUP",
    "KINDS",
    "VERSION",
    "Condition",
    "HardwareProfile",
    "ModelRegistry",
    "ModelVersion",
    "ObjectMeta",
    "RegisteredModel",
    "Resource",
]

KINDS: tuple[type[Resource], ...] = (ModelRegistry, RegisteredModel, ModelVersion, HardwareProfile)
