"""The result of an upload: the digest, the files that were sent, and a ModelVersion that names the digest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from gatehouse.actions.manifests import manifests_yaml, model_version_manifest
from gatehouse.actions.names import model_object_name, version_object_name
from gatehouse.api.meta import LocalObjectReference
from gatehouse.api.model_version import Artifact, ModelVersionSpec
from gatehouse.domain.artifact.layout import MANIFEST
from gatehouse.domain.artifact.signature import SIGNATURE
from gatehouse.domain.common.text import human_bytes
from gatehouse.domain.serving.template import JsonObject
from gatehouse.errors import InputInvalid
from gatehouse.upload.check import CheckedArtifact
from gatehouse.upload.plan import Plan
from gatehouse.upload.transfer import UploadResult

__all__ = ["UploadReport", "VersionNames"]

_DIGEST_DIGITS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionNames:
    """Names for the ModelVersion. None derives the model from the folder of the URI, the version from the digest."""

    model: str | None = None
    version: str | None = None
    hardware_profile: str
    namespace: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadReport:
    """An upload, or with ``result`` None a dry run.

    ``asked`` names the ModelVersions of the URI for which a check was requested.
    """

    uri: str
    artifact: CheckedArtifact
    plan: Plan
    result: UploadResult | None
    left_out: Sequence[str]
    names: VersionNames
    asked: Sequence[str] = ()

    def model_version(self) -> JsonObject:
        """The manifest of the ModelVersion. Raises InputInvalid for an invalid name."""
        names, artifact = self.names, self.artifact
        model = model_object_name(names.model or self.uri.rstrip("/").rpartition("/")[2])
        version = names.version or artifact.digest.removeprefix("sha256:")[:_DIGEST_DIGITS]
        try:
            spec = ModelVersionSpec(
                model_ref=LocalObjectReference(name=model),
                version=version,
                artifact=Artifact(uri=self.uri, format=artifact.artifact_format, digest=artifact.digest),
                hardware_profile_ref=LocalObjectReference(name=names.hardware_profile),
            )
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"])
            raise InputInvalid(f"{place} of the ModelVersion: {first['msg']}") from None
        return model_version_manifest(name=version_object_name(model, version), spec=spec, namespace=names.namespace)

    def summary(self) -> str:
        """One sentence for people."""
        files = [file for file in self.plan.files if file.path != SIGNATURE]
        signed = f", and {SIGNATURE}" if len(files) < len(self.plan.files) else ""
        total = f"{len(self.artifact.files)} files, {human_bytes(self.artifact.total_bytes)}{signed}"
        if self.result is None:
            return f"would send {len(files)} of {total} ({human_bytes(self.plan.bytes)})"
        kept = f", {human_bytes(self.result.kept_bytes)} were there" if self.result.kept_bytes else ""
        return f"sent {len(files)} of {total} ({human_bytes(self.result.sent_bytes)}{kept})"

    def yaml(self) -> str:
        """The ModelVersion, with the digest and the summary as comments above it."""
        head = f"# {self.artifact.digest}\n# {self.uri.rstrip('/')}/: {self.summary()}\n"
        return head + manifests_yaml([self.model_version()])

    def wire(self) -> dict[str, Any]:
        """The whole report, as JSON."""
        result = self.result
        return {
            "uri": self.uri,
            "digest": self.artifact.digest,
            "format": self.artifact.artifact_format,
            "manifest": f"{self.uri.rstrip('/')}/{MANIFEST}",
            "signature": f"{self.uri.rstrip('/')}/{SIGNATURE}" if self.artifact.signature else None,
            "dryRun": result is None,
            "totalBytes": self.artifact.total_bytes,
            "files": [{"path": f.path, "size": f.size, "sha256": f.sha256} for f in self.artifact.files],
            "sent": [file.path for file in self.plan.files],
            "sentBytes": self.plan.bytes if result is None else result.sent_bytes,
            "keptBytes": 0 if result is None else result.kept_bytes,
            "deleted": list(self.plan.delete),
            "leftOut": list(self.left_out),
            "withoutStoreChecksum": [] if result is None else list(result.unsummed),
            "asked": list(self.asked),
            "notes": list(self.artifact.notes),
            "modelVersion": self.model_version(),
        }
