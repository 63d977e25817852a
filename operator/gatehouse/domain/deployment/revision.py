"""Revisions of a deployment: immutable values, each bound to the digest of an artifact.

The name of a revision is a hash of the version, the digests, the template and the arguments. A ControllerRevision of
that name holds the template as the version's controller wrote it. Reading one computes the hashes again, so an object
of another content is no revision.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from gatehouse.api.meta import GROUP, VERSION, ObjectMeta
from gatehouse.api.model_deployment import ModelDeployment
from gatehouse.api.model_version import ModelVersion
from gatehouse.domain.common.finding import Finding
from gatehouse.domain.common.readable import member
from gatehouse.domain.runtimes.refusals import NameRefused
from gatehouse.domain.serving.names import label_value, require_service_name
from gatehouse.domain.serving.template import (
    ANNOTATION_DIGEST,
    MANAGED_BY,
    ServingTemplate,
    retarget,
)

__all__ = [
    "ANNOTATION_REVISION",
    "RevisionKey",
    "candidate",
    "controlling_deployment",
    "name_finding",
    "owner_reference",
    "read_revision",
    "recorded_digest",
    "revision_object",
    "runtime_object",
    "service_object",
    "slot_names",
]

ANNOTATION_REVISION: Final = f"{GROUP}/revision"
"""On the InferenceService, and by KServe on its Deployment and Pods: the revision that they run."""
LABEL_DEPLOYMENT: Final = f"{GROUP}/deployment"
_HASH_LENGTH: Final = 16
_SLOT_LENGTH: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class RevisionKey:
    """What a revision is made of, by digests. Equal keys are the same revision.

    ``version`` is a name in the namespace of the deployment's model.
    """

    deployment: str
    version: str
    digest: str
    served_digest: str
    template_digest: str
    served_name: str

    @property
    def name(self) -> str:
        """Name of the revision, and of its ControllerRevision."""
        parts = [self.version, self.digest, self.served_digest, self.template_digest, self.served_name]
        hashed = hashlib.sha256(orjson.dumps(parts)).hexdigest()[:_HASH_LENGTH]
        return f"{self.deployment}-{hashed}"


def slot_names(key: RevisionKey) -> tuple[str, str]:
    """The names that the InferenceService of a revision may have where revisions run side by side."""
    hashed = key.name[-_HASH_LENGTH:]
    return f"{key.deployment}-{hashed[:_SLOT_LENGTH]}", f"{key.deployment}-{hashed[_SLOT_LENGTH:]}"


def recorded_digest(version: ModelVersion) -> str | None:
    """The digest that the registry recorded for a version."""
    status = version.status
    return status.recorded_digest or (status.artifact.digest if status.artifact else None)


def candidate(deployment: ModelDeployment, version: ModelVersion) -> RevisionKey | None:
    """The revision that the version has now. None while the version has no template."""
    digest, status = recorded_digest(version), version.status
    if digest is None or status.served_digest is None or status.template is None:
        return None
    return RevisionKey(
        deployment=deployment.metadata.name,
        version=version.metadata.name,
        digest=digest,
        served_digest=status.served_digest,
        template_digest=status.template.digest,
        served_name=deployment.spec.served_name,
    )


def name_finding(deployment: ModelDeployment) -> Finding | None:
    """Why KServe cannot serve the names of the deployment in its namespace; None where KServe can."""
    metadata = deployment.metadata
    beside = deployment.spec.strategy.type != "Recreate"
    try:
        require_service_name(
            f"{metadata.name}-{'0' * _SLOT_LENGTH}" if beside else metadata.name, namespace=metadata.namespace
        )
    except NameRefused as refused:
        found = refused.finding
        return Finding(
            reason=found.reason,
            found=found.found,
            expected=found.expected,
            remedy="make a ModelDeployment with another name, because the InferenceService has the same name",
        )
    return None


# The ControllerRevision


def revision_object(key: RevisionKey, template: ServingTemplate, *, owner: ObjectMeta, number: int) -> dict[str, Any]:
    """The ControllerRevision of a revision. Kubernetes never changes its data, and deletes it with the deployment."""
    return {
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": {
            "name": key.name,
            "namespace": owner.namespace,
            "labels": {MANAGED_BY[0]: MANAGED_BY[1], LABEL_DEPLOYMENT: label_value(owner.name)},
            "annotations": {ANNOTATION_DIGEST: key.digest},
            "ownerReferences": [owner_reference(owner)],
        },
        "revision": number,
        "data": {
            "version": key.version,
            "digest": key.digest,
            "servedDigest": key.served_digest,
            "servedName": key.served_name,
            "inferenceService": dict(template.inference_service),
            "servingRuntime": dict(template.serving_runtime),
        },
    }


def read_revision(body: Mapping[str, Any], key: RevisionKey) -> ServingTemplate | Finding:
    """The template in a ControllerRevision, or how the object differs from the revision."""
    data = body.get("data")
    service, runtime = member(data, "inferenceService"), member(data, "servingRuntime")
    if not isinstance(service, dict) or not isinstance(runtime, dict):
        return _altered(key, "has no template")
    template = ServingTemplate(inference_service=service, serving_runtime=runtime)
    try:
        digest = template.digest
    except (TypeError, ValueError):
        return _altered(key, "has a template that is no JSON")
    return check_template(template, digest, key)


def check_template(template: ServingTemplate, digest: str, key: RevisionKey) -> ServingTemplate | Finding:
    """The template, if it is the revision's: by its own digest, and by the digest of the artifact that it names."""
    if digest != key.template_digest:
        return _altered(key, f"has the template {digest}")
    artifact = member(template.inference_service, "metadata", "annotations", ANNOTATION_DIGEST)
    if artifact != key.digest:
        return _altered(key, f"has a template for the artifact {str(artifact)[:80]}")
    return template


def _altered(key: RevisionKey, found: str) -> Finding:
    return Finding(
        reason="RevisionAltered",
        found=f"the ControllerRevision {key.name} {found}",
        expected=f"the template {key.template_digest} for the artifact {key.digest}",
        remedy="delete that ControllerRevision; Gatehouse writes the revision again where its version still has it",
    )


# The objects that run a revision


def service_object(
    key: RevisionKey,
    template: ServingTemplate,
    deployment: ModelDeployment,
    *,
    name: str,
    stage: str,
    uid: str | None,
) -> dict[str, Any]:
    """The InferenceService ``name`` that runs a revision. ``uid`` is that of the existing service.

    The last ``--served-model-name`` counts: the runtime's own one is the name of the service.
    """
    metadata = deployment.metadata
    moved = retarget(template, name=name, namespace=metadata.namespace, stage=stage).inference_service
    predictor = moved["spec"]["predictor"]
    model = predictor["model"]
    named = [*model["args"], f"--served-model-name={key.served_name}"]
    replicas = deployment.spec.replicas
    return {
        **moved,
        "metadata": {
            **moved["metadata"],
            "labels": {**moved["metadata"]["labels"], LABEL_DEPLOYMENT: label_value(metadata.name)},
            "annotations": {**moved["metadata"]["annotations"], ANNOTATION_REVISION: key.name},
            "ownerReferences": [owner_reference(metadata)],
            **({"uid": uid} if uid else {}),
        },
        "spec": {
            **moved["spec"],
            "predictor": {
                **predictor,
                "minReplicas": replicas,
                "maxReplicas": replicas,
                "model": {**model, "args": named},
            },
        },
    }


def runtime_object(template: ServingTemplate, *, namespace: str) -> dict[str, Any]:
    """The ServingRuntime that the InferenceService names. Its name depends on its content, so deployments share it."""
    runtime = template.serving_runtime
    return {**runtime, "metadata": {**runtime["metadata"], "namespace": namespace}}


def owner_reference(owner: ObjectMeta) -> dict[str, Any]:
    """The deployment as the controlling owner."""
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": ModelDeployment.info.kind,
        "name": owner.name,
        "uid": owner.uid,
        "controller": True,
        "blockOwnerDeletion": False,
    }


def controlling_deployment(body: object) -> Mapping[str, Any] | None:
    """The reference to the deployment that controls an object; None where no deployment does."""
    owners = member(body, "metadata", "ownerReferences")
    for owner in owners if isinstance(owners, list) else ():
        if member(owner, "kind") == ModelDeployment.info.kind and member(owner, "controller") is True:
            return dict(owner)
    return None
