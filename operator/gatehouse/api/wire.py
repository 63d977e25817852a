"""Objects as JSON, for code that reads a few fields of very many objects, and of objects that their kind rejects.

The cache computes its indexes from JSON: validating each object as its kind would take ten times the CPU of a restart.
A test compares every name and type here with the schemas of the kinds. The API server may still hold objects that an
older schema admitted, so readers expect any member to be absent or of another type.
"""

from __future__ import annotations

from typing import Final, NotRequired, TypedDict

__all__ = [
    "ACCELERATOR_RESOURCE",
    "APPROVAL_DECISION",
    "DECIDED_VERSION_UID",
    "PATHS",
    "REGISTRY_ID",
    "TEMPLATE_DIGEST",
    "TEMPLATE_NAME",
    "WIRES",
    "WireDecision",
    "WireDeployment",
    "WireMetadata",
    "WireModel",
    "WireObject",
    "WireRegistry",
    "WireVersion",
    "WireVersionStatus",
]


class WireMetadata(TypedDict, total=False):
    """``metadata``, as the API server fills it in."""

    name: str
    namespace: str
    uid: str
    resourceVersion: str
    creationTimestamp: str
    deletionTimestamp: str
    labels: dict[str, str]
    annotations: dict[str, str]


class WireObject(TypedDict):
    """What every object has."""

    metadata: WireMetadata


class WireName(TypedDict):
    """A reference to an object."""

    name: str


class WireNamespacedName(WireName, total=False):
    """A reference to an object, maybe of another namespace."""

    namespace: str


class WireCondition(TypedDict):
    """A condition."""

    type: str
    status: str


class WireArtifact(TypedDict):
    """``spec.artifact`` of a version."""

    uri: str


class WireVersionSpec(TypedDict):
    """``spec`` of a version."""

    modelRef: WireName
    version: str
    hardwareProfileRef: WireName
    artifact: WireArtifact


class WireArtifactStatus(TypedDict, total=False):
    """``status.artifact`` of a version."""

    digest: str
    modelFile: str


class WirePolicyOutcome(TypedDict):
    """What a policy says of a version."""

    name: str
    outcome: str


class WireGate(TypedDict):
    """A gate of a version."""

    name: str
    open: bool
    unknown: NotRequired[bool]


class WireRefusal(TypedDict):
    """Why a version is refused."""

    stage: NotRequired[str]
    reason: str


class WireAdmission(TypedDict):
    """A namespace that serves a version."""

    stage: str
    namespace: str


class WireRunning(TypedDict):
    """An entry of ``status.running`` of a version."""

    approved: bool


class WireVersionStatus(TypedDict, total=False):
    """``status`` of a version."""

    phase: str
    registry: str
    registryId: str
    recordedDigest: str
    claimedAt: str
    artifact: WireArtifactStatus
    policies: list[WirePolicyOutcome]
    gates: list[WireGate]
    refusals: list[WireRefusal]
    admittedTo: list[WireAdmission]
    clearedFor: list[str]
    deployedTo: list[str]
    running: list[WireRunning]


class WireVersion(WireObject):
    """A ModelVersion."""

    spec: WireVersionSpec
    status: NotRequired[WireVersionStatus]


class WireModelSpec(TypedDict, total=False):
    """``spec`` of a model."""

    registryRef: WireNamespacedName
    state: str


class WireModelStatus(TypedDict, total=False):
    """``status`` of a model."""

    registry: str
    registryId: str


class WireModel(WireObject):
    """A RegisteredModel."""

    spec: WireModelSpec
    status: NotRequired[WireModelStatus]


class WireStore(TypedDict):
    """An object store of a registry."""

    uriPrefix: str


class WireRegistrySpec(TypedDict, total=False):
    """``spec`` of a registry."""

    objectStores: list[WireStore]


class WireRegistryStatus(TypedDict, total=False):
    """``status`` of a registry."""

    conditions: list[WireCondition]


class WireRegistry(WireObject):
    """A ModelRegistry."""

    spec: WireRegistrySpec
    status: NotRequired[WireRegistryStatus]


class WireDecisionSpec(TypedDict):
    """``spec`` of an approval or an evaluation."""

    versionRef: WireName


class WireDecision(WireObject):
    """A ModelApproval or a ModelEvaluation."""

    spec: WireDecisionSpec


class _WireHost(TypedDict, total=False):
    hostname: str


class WireDeploymentSpec(_WireHost):
    """``spec`` of a deployment."""

    modelRef: WireNamespacedName
    versionRef: WireName


class WireHistoryEntry(TypedDict):
    """A revision that ran."""

    version: str


class WireDeploymentStatus(TypedDict, total=False):
    """``status`` of a deployment."""

    history: list[WireHistoryEntry]


class WireDeployment(WireObject):
    """A ModelDeployment."""

    spec: WireDeploymentSpec
    status: NotRequired[WireDeploymentStatus]


WIRES: Final = {
    "modeldeployments": WireDeployment,
    "modelversions": WireVersion,
    "registeredmodels": WireModel,
    "modelregistries": WireRegistry,
    "modelapprovals": WireDecision,
    "modelevaluations": WireDecision,
}
"""The type of each kind's JSON, by the kind's plural."""

REGISTRY_ID: Final = ("status", "registryId")
TEMPLATE_NAME: Final = ("status", "template", "name")
TEMPLATE_DIGEST: Final = ("status", "template", "digest")
ACCELERATOR_RESOURCE: Final = ("spec", "accelerator", "resourceName")
DECIDED_VERSION_UID: Final = ("spec", "versionRef", "uid")
APPROVAL_DECISION: Final = ("spec", "decision")

PATHS: Final = {
    "modelversions": (REGISTRY_ID, TEMPLATE_NAME, TEMPLATE_DIGEST),
    "registeredmodels": (REGISTRY_ID,),
    "hardwareprofiles": (ACCELERATOR_RESOURCE,),
    "modelapprovals": (DECIDED_VERSION_UID, APPROVAL_DECISION),
    "modelevaluations": (DECIDED_VERSION_UID,),
}
"""The paths that are read in objects of each kind whatever their shape, by the kind's plural."""
