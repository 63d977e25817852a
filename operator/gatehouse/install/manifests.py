"""The objects of a rendered overlay, and their properties for an installation. All functions are pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import yaml

from gatehouse.install.errors import OverlayInvalid

__all__ = ["IMAGE", "Manifest", "dump", "load", "of_kind", "tagged_images", "with_image"]

IMAGE: Final = "localhost/gatehouse"
"""The operator's image as the overlays write it, without its tag."""

_WAVE: Final = "argocd.argoproj.io/sync-wave"
_BY_DIGEST: Final = re.compile(r"@sha256:[0-9a-f]{64}\Z", re.ASCII)
_POD_LISTS: Final = ("initContainers", "containers")


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """One object. ``namespace`` is empty for a cluster-scoped object; ``body`` is the object's JSON."""

    api_version: str
    kind: str
    namespace: str
    name: str
    body: Mapping[str, Any] = field(repr=False)

    @property
    def wave(self) -> int:
        """The object's sync wave; 0 without one."""
        return int((self.body["metadata"].get("annotations") or {}).get(_WAVE, 0))

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"


def load(text: str) -> tuple[Manifest, ...]:
    """The objects of a YAML stream, in order.

    Raises:
        OverlayInvalid: the text is not YAML, or a document is not an object.
    """
    try:
        documents = [document for document in yaml.safe_load_all(text) if document is not None]
    except yaml.YAMLError as error:
        raise OverlayInvalid(f"the rendered overlay is not YAML: {error}") from error
    return tuple(_manifest(document) for document in documents)


def dump(manifests: Iterable[Manifest]) -> str:
    """The objects as a YAML stream."""
    return yaml.safe_dump_all((dict(manifest.body) for manifest in manifests), sort_keys=False, allow_unicode=True)


def of_kind(manifests: Iterable[Manifest], *kinds: str) -> tuple[Manifest, ...]:
    """The objects of the kinds, in order."""
    return tuple(manifest for manifest in manifests if manifest.kind in kinds)


def with_image(manifests: Sequence[Manifest], image: str) -> tuple[Manifest, ...]:
    """The same objects with ``image`` in every container with Gatehouse's own image."""
    return tuple(_with_image(manifest, image) for manifest in manifests)


def tagged_images(manifests: Iterable[Manifest]) -> tuple[str, ...]:
    """Every container image without a digest, each once, sorted."""
    named = {str(each.get("image")) for manifest in manifests for each in _containers(manifest.body)}
    return tuple(sorted(image for image in named if not _BY_DIGEST.search(image)))


def _with_image(manifest: Manifest, image: str) -> Manifest:
    if not any(_is_ours(container) for container in _containers(manifest.body)):
        return manifest
    return Manifest(
        api_version=manifest.api_version,
        kind=manifest.kind,
        namespace=manifest.namespace,
        name=manifest.name,
        body=_replaced(manifest.body, image),
    )


def _replaced(value: Any, image: str) -> Any:
    """A copy in which each Gatehouse container has the image."""
    if isinstance(value, Mapping):
        copied = {key: _replaced(member, image) for key, member in value.items()}
        return {**copied, "image": image} if _is_ours(value) else copied
    if isinstance(value, list):
        return [_replaced(member, image) for member in value]
    return value


def _containers(body: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    spec = body.get("spec")
    if not isinstance(spec, Mapping):
        return
    # A CronJob contains the template of a Job.
    pod = spec.get("jobTemplate", {}).get("spec", spec).get("template", {}).get("spec", {})
    for member in _POD_LISTS:
        yield from pod.get(member, ())


def _is_ours(container: Mapping[str, Any]) -> bool:
    image = container.get("image")
    return isinstance(image, str) and (image == IMAGE or image.startswith((f"{IMAGE}:", f"{IMAGE}@")))


def _manifest(document: object) -> Manifest:
    if not isinstance(document, Mapping):
        raise OverlayInvalid(
            f"the rendered overlay has a document that is {type(document).__name__}; expected: an object"
        )
    metadata = document.get("metadata")
    if not isinstance(metadata, Mapping) or not ({"apiVersion", "kind"} <= document.keys() and "name" in metadata):
        raise OverlayInvalid(
            f"the rendered overlay has an object without apiVersion, kind or metadata.name: {str(dict(document))[:120]}"
        )
    return Manifest(
        api_version=str(document["apiVersion"]),
        kind=str(document["kind"]),
        namespace=str(metadata.get("namespace") or ""),
        name=str(metadata["name"]),
        body=document,
    )
