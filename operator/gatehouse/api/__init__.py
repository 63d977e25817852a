"""The kinds of the group ``gatehouse.dev/v1alpha1``."""

from __future__ import annotations

from gatehouse.api.governance_policy import GovernancePolicy
from gatehouse.api.hardware_profile import HardwareProfile
from gatehouse.api.meta import GROUP, VERSION, Condition, ObjectMeta, Resource
from gatehouse.api.model_approval import ModelApproval
from gatehouse.api.model_deployment import ModelDeployment
from gatehouse.api.model_evaluation import ModelEvaluation
from gatehouse.api.model_registry import ModelRegistry
from gatehouse.api.model_version import ModelVersion
from gatehouse.api.registered_model import RegisteredModel
from gatehouse.api.vetted_artifacts import VettedArtifacts

__all__ = [
    "GROUP",
    "KINDS",
    "VERSION",
    "Condition",
    "GovernancePolicy",
    "HardwareProfile",
    "ModelApproval",
    "ModelDeployment",
    "ModelEvaluation",
    "ModelRegistry",
    "ModelVersion",
    "ObjectMeta",
    "RegisteredModel",
    "Resource",
    "VettedArtifacts",
]

KINDS: tuple[type[Resource], ...] = (
    ModelRegistry,
    RegisteredModel,
    ModelVersion,
    HardwareProfile,
    GovernancePolicy,
    ModelEvaluation,
    ModelApproval,
    VettedArtifacts,
    ModelDeployment,
)
