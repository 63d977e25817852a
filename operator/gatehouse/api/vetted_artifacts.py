"""VettedArtifacts: the list that admission reads, written only by the operator.

Each stage and bucket has one object, or several objects with a range of the URIs each, so that every object stays below
etcd's limit of 1.5 MB. The API server evaluates a ValidatingAdmissionPolicy with each object, and every evaluation must
pass. Therefore each object holds all keys: an object of another key passes if the key exists in the list of keys. A key
that no object covers fails in every evaluation.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field, StringConstraints

from gatehouse.api.meta import ConditionedStatus, KindInfo, PrinterColumn, Resource, Struct
from gatehouse.api.model_registry import StageName
from gatehouse.api.model_version import Digest, ModelFile

__all__ = ["VettedArtifacts", "VettedArtifactsSpec", "VettedArtifactsStatus"]

Key = Annotated[str, StringConstraints(min_length=3, max_length=128, pattern=r"^[a-z0-9-]+/[a-z0-9.-]+$")]
Uri = Annotated[str, StringConstraints(max_length=1025)]
ATOMIC_MAP = {"x-kubernetes-map-type": "atomic"}
ATOMIC_LIST = {"x-kubernetes-list-type": "atomic"}


class VettedArtifactsSpec(Struct):
    stage: StageName
    """Stage that the artifacts are cleared for."""
    bucket: Annotated[str, StringConstraints(min_length=3, max_length=63)]
    """Bucket that the artifacts are in."""
    key: Key
    """Stage and bucket as stage/bucket, the key that admission looks up."""
    keys: Annotated[list[Key], Field(max_length=1024, json_schema_extra=ATOMIC_LIST)]
    """Keys for which the VettedArtifacts objects cover every URI."""
    start: Uri = ""
    """First URI that this object covers; the lowest URI when empty."""
    end: Uri = ""
    """First URI after the range that this object covers; no limit when empty."""
    artifacts: Annotated[dict[str, Digest], Field(max_length=20000, json_schema_extra=ATOMIC_MAP)] = Field(
        default_factory=dict
    )
    """Map from the URI, with a slash at the end, to the digest of each artifact that is cleared for the stage."""
    retained: Annotated[dict[str, Digest], Field(max_length=20000, json_schema_extra=ATOMIC_MAP)] = Field(
        default_factory=dict
    )
    """Map from namespace, a blank and URI to the digest of each artifact that is no longer cleared. Services in the
    namespace were admitted while the artifact was cleared, so they keep running and may start new Pods."""
    refused: Annotated[
        dict[str, Annotated[str, StringConstraints(max_length=256)]],
        Field(max_length=2000, json_schema_extra=ATOMIC_MAP),
    ] = Field(default_factory=dict)
    """Map from the URI of artifacts that are known but not cleared to the reason that admission reports."""
    files: Annotated[dict[str, ModelFile], Field(max_length=20000, json_schema_extra=ATOMIC_MAP)] = Field(
        default_factory=dict
    )
    """Map from the URI to the file that model servers load instead of the folder, as in --model=/mnt/models/FILE. No
    other file of an artifact may be named."""
    runtimes: Annotated[list[Annotated[str, StringConstraints(max_length=253)]], Field(max_length=256)] = Field(
        default_factory=list
    )
    """Serving runtimes that InferenceServices may name."""
    images: Annotated[list[Annotated[str, StringConstraints(max_length=512)]], Field(max_length=256)] = Field(
        default_factory=list
    )
    """Images that model servers may run."""
    arguments: Annotated[
        dict[str, Annotated[str, StringConstraints(max_length=320)]],
        Field(max_length=1024, json_schema_extra=ATOMIC_MAP),
    ] = Field(default_factory=dict)
    """Map from each argument that model servers may have to its origin: gatehouse, or a registry. --flag allows any
    plain value, --flag=value only this value."""
    environment: Annotated[
        dict[str, Annotated[str, StringConstraints(max_length=1024)]],
        Field(max_length=512, json_schema_extra=ATOMIC_MAP),
    ] = Field(default_factory=dict)
    """Map from each variable that model servers may have to the regular expression that the whole value must match."""
    initializers: Annotated[list[Annotated[str, StringConstraints(max_length=512)]], Field(max_length=512)] = Field(
        default_factory=list
    )
    """Images of KServe's storage initializer that Pods of models may run."""
    proxies: Annotated[list[Annotated[str, StringConstraints(max_length=512)]], Field(max_length=512)] = Field(
        default_factory=list
    )
    """Images of OpenShift AI's proxy that Pods of models may run beside the server."""
    connections: Annotated[list[Annotated[str, StringConstraints(max_length=253)]], Field(max_length=256)] = Field(
        default_factory=list
    )
    """Keys of the Secret storage-config with which services may load artifacts of the bucket: the connections with
    which the registries verified them."""
    virtual_host: bool = False
    """Whether KServe's initializer may put the bucket into the host name. True if a registry verified the bucket in
    this way, or if the bucket is in AWS; false when absent."""
    accelerators: Annotated[list[Annotated[str, StringConstraints(max_length=316)]], Field(max_length=256)] = Field(
        default_factory=list
    )
    """Extended resources of the hardware profiles, for example nvidia.com/gpu."""
    resources: Annotated[list[Annotated[str, StringConstraints(max_length=316)]], Field(max_length=256)] = Field(
        default_factory=list
    )
    """Extended resources that are not accelerators, and that every Pod may request."""


class VettedArtifactsStatus(ConditionedStatus):
    """VettedArtifacts are not reconciled: the operator writes them, and admission reads them."""


class VettedArtifacts(Resource):
    """Artifacts that admission accepts for one stage and bucket, or for a range of URIs. Only the operator writes
    it."""

    info: ClassVar[KindInfo] = KindInfo(
        kind="VettedArtifacts",
        plural="vettedartifacts",
        singular="vettedartifacts",
        short="va",
        namespaced=False,
        columns=(
            PrinterColumn("Stage", ".spec.stage"),
            PrinterColumn("Bucket", ".spec.bucket"),
            PrinterColumn("Start", ".spec.start", wide=True),
            PrinterColumn("End", ".spec.end", wide=True),
            PrinterColumn("Age", ".metadata.creationTimestamp", "date"),
        ),
    )
    spec: VettedArtifactsSpec
    status: VettedArtifactsStatus = Field(default_factory=VettedArtifactsStatus)
