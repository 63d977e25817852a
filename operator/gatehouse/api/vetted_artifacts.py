"""VettedArtifacts: what admission lets through, written by the operator only.

One object a stage and bucket, or several with a range of its URIs each, so that each stays below etcd's limit of
1.5 MB. A ValidatingAdmissionPolicy is asked with every one of them in turn and all must say yes, so each knows all
keys: one that does not hold an artifact's key agrees if the key exists, and a key that nobody has is refused by all.
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
    """stage/bucket, as admission looks it up."""
    keys: Annotated[list[Key], Field(max_length=1024, json_schema_extra=ATOMIC_LIST)]
    """Keys of which the VettedArtifacts objects cover every URI."""
    start: Uri = ""
    """First URI that this object decides on; the lowest when empty."""
    end: Uri = ""
    """First URI after those that it decides on; there is none when empty."""
    artifacts: Annotated[dict[str, Digest], Field(max_length=20000, json_schema_extra=ATOMIC_MAP)] = Field(
        default_factory=dict
    )
    """URI (with a slash at its end) to digest of each artifact that is cleared for the stage."""
    retained: Annotated[dict[str, Digest], Field(max_length=20000, json_schema_extra=ATOMIC_MAP)] = Field(
        default_factory=dict
    )
    """Namespace, a blank and URI of each artifact that is not cleared any more, to its digest: services there were
    admitted while it was cleared, so they may go on and have new Pods."""
    refused: Annotated[
        dict[str, Annotated[str, StringConstraints(max_length=256)]],
        Field(max_length=2000, json_schema_extra=ATOMIC_MAP),
    ] = Field(default_factory=dict)
    """URI to the reason of artifacts that are known and not cleared: what admission tells."""
    files: Annotated[dict[str, ModelFile], Field(max_length=20000, json_schema_extra=ATOMIC_MAP)] = Field(
        default_factory=dict
    )
    """URI to the file that model servers are given in place of the folder, as --model=/mnt/models/FILE, of artifacts
    that want it so. No other file of an artifact may be named."""
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
    """Arguments that model servers may be started with, --flag with any plain value or --flag=value just so, to who
    allows them: gatehouse, or a registry."""
    environment: Annotated[
        dict[str, Annotated[str, StringConstraints(max_length=1024)]],
        Field(max_length=512, json_schema_extra=ATOMIC_MAP),
    ] = Field(default_factory=dict)
    """Variables that model servers may have, to the regular expression that the whole value must match."""
    initializers: Annotated[list[Annotated[str, StringConstraints(max_length=512)]], Field(max_length=512)] = Field(
        default_factory=list
    )
    """Images of KServe's storage initializer that Pods of models may have."""
    proxies: Annotated[list[Annotated[str, StringConstraints(max_length=512)]], Field(max_length=512)] = Field(
        default_factory=list
    )
    """Images of OpenShift AI's proxy that Pods of models may have before the server."""
    connections: Annotated[list[Annotated[str, StringConstraints(max_length=253)]], Field(max_length=256)] = Field(
        default_factory=list
    )
    """Keys of the Secret storage-config that artifacts of the bucket may be loaded by: the connections that the
    registries of the bucket verified them by."""
    virtual_host: bool = False
    """Whether KServe's initializer may put the bucket into the host's name: a registry verified the bucket so, or it is
    in AWS; false when absent."""
    accelerators: Annotated[list[Annotated[str, StringConstraints(max_length=316)]], Field(max_length=256)] = Field(
        default_factory=list
    )
    """Extended resources of the hardware profiles, as in nvidia.com/gpu."""
    resources: Annotated[list[Annotated[str, StringConstraints(max_length=316)]], Field(max_length=256)] = Field(
        default_factory=list
    )
    """Extended resources that any Pod may ask for: they are no accelerators."""


class VettedArtifactsStatus(ConditionedStatus):
    """Nothing is reconciled from it: the operator writes it, admission reads it."""


class VettedArtifacts(Resource):
    """What admission lets through for one stage and bucket, or a range of its URIs. Only the operator writes it."""

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
