"""Which stages run which artifacts: the InferenceServices in namespaces with a stage label.

The operator watches InferenceServices while the API server serves them: KServe may be absent. Gatehouse changes only
the services of deployments, and reports all. A change of a service enqueues the versions that the service runs or ran.
The cache keeps the few members that are read here, because a service may be large and there may be thousands.

Admission admits a service behind an enforced gate if the service has the digest of a cleared version. A version
remembers such services only. Admission did not check services in namespaces whose gate only warns, or whose gate was
enforced later.

A canary of a service may load another artifact than the stable predictor, and has the digest of that artifact in its
own annotations. A service then runs several versions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple, cast

from gatehouse.api.kserve import (
    CANARIES,
    CANARY_URI,
    SERVED_URI,
    SERVICE_RUNTIME,
    SERVICE_URL,
    WireCanary,
    WireService,
)
from gatehouse.api.model_version import ModelVersion
from gatehouse.api.wire import WireMetadata, WireObject
from gatehouse.controllers.deployed_services import kept_of_deployed
from gatehouse.controllers.indexes import BY_DEPLOYED, BY_DIGEST, BY_NAMESPACE, BY_SERVED
from gatehouse.controllers.ports import ObjectReader
from gatehouse.domain.common.locations import folder_of
from gatehouse.domain.common.readable import member
from gatehouse.domain.serving.template import (
    ANNOTATION_DIGEST,
    ANNOTATION_VERSION,
    LABEL_GATE,
    LABEL_STAGE,
    UNENFORCED,
)
from gatehouse.runtime.cache import Caches
from gatehouse.runtime.refs import Body, Gvr, ObjectKey

__all__ = [
    "INFERENCE_SERVICES",
    "Services",
    "kept_of_service",
    "run_by_service",
    "run_in_namespace",
    "served_artifacts",
    "served_digest",
    "served_folder",
    "service_part",
    "shown_as_running",
]

INFERENCE_SERVICES: Final = Gvr("serving.kserve.io", "v1beta1", "inferenceservices", namespaced=True)
_SERVICES: Final = INFERENCE_SERVICES.plural
_VERSIONS: Final = ModelVersion.info.plural
_KEPT: Final = frozenset({"name", "namespace", "uid", "resourceVersion", "deletionTimestamp"})
_MOST_CANARIES: Final = 16
"""Admission admits fewer. A service that admission did not check may have any number."""


class _Place(NamedTuple):
    """A namespace with services that serve an artifact under one digest."""

    stage: str
    namespace: str
    digest: str
    enforced: bool


class Services:
    """The stages that run a version, from the cache of services."""

    def __init__(self, reader: ObjectReader) -> None:
        self._reader = reader

    def deployed_to(self, version: ModelVersion) -> list[str]:
        """Stages that run the version's artifact; while the services are not known, those of its status."""
        if not self._reader.complete(_SERVICES):
            return list(version.status.deployed_to)
        return sorted({place.stage for place in self._places(version)})

    def served_in(self, version: ModelVersion, *, digest: str | None) -> tuple[tuple[str, str], ...] | None:
        """Stage and namespace of each service with the version's artifact and digest, where the gate is enforced.

        None while the services are not known.
        """
        if not self._reader.complete(_SERVICES):
            return None
        found = {(at.stage, at.namespace) for at in self._places(version) if at.enforced and at.digest == digest}
        return tuple(sorted(found))

    def _places(self, version: ModelVersion) -> Iterable[_Place]:
        """Where the version's artifact is served, in namespaces with a stage."""
        folder = folder_of(version.spec.artifact.uri)
        # The index has the digest without decoding a body: very many services may run one version.
        served = {
            (name.namespace, artifact.removesuffix(f"\n{folder}"))
            for name in self._reader.select(_SERVICES, BY_SERVED, folder)
            for artifact in self._reader.indexed(_SERVICES, name, BY_DIGEST)
            if artifact.endswith(f"\n{folder}")
        }
        for namespace, digest in served:
            labels = self._labels(namespace)
            if stage := labels.get(LABEL_STAGE):
                yield _Place(stage, namespace, digest, enforced=labels.get(LABEL_GATE) not in UNENFORCED)

    def _labels(self, namespace: str) -> Mapping[str, str]:
        body = self._reader.get("namespaces", "", namespace)
        labels: Mapping[str, str] = (body or {"metadata": {}})["metadata"].get("labels") or {}
        return labels


# What the operator declares for the kind


def kept_of_service(body: Body) -> Body:
    """The members of a service that the operator reads. A malformed service serves nothing."""
    metadata: WireMetadata = body["metadata"]
    kept: dict[str, Any] = {name: value for name, value in metadata.items() if name in _KEPT}
    said = metadata.get("annotations") or {}
    if annotations := {name: said[name] for name in (ANNOTATION_DIGEST, ANNOTATION_VERSION) if said.get(name)}:
        kept["annotations"] = annotations
    service: WireService = {"metadata": cast("WireMetadata", kept)}
    uri, runtime, url = (member(body, *path) for path in (SERVED_URI, SERVICE_RUNTIME, SERVICE_URL))
    if isinstance(uri, str):
        service["spec"] = {"predictor": {"model": {"storageUri": uri}}}
        if isinstance(runtime, str):
            service["spec"]["predictor"]["model"]["runtime"] = runtime
        if canaries := list(_canaries(body)):
            service["spec"]["canary"] = canaries
    if isinstance(url, str):
        service["status"] = {"url": url}
    return {**service, **kept_of_deployed(body)}


def _canaries(body: Body) -> Iterable[WireCanary]:
    """The canaries with an artifact of their own."""
    found = member(body, *CANARIES)
    for canary in found[:_MOST_CANARIES] if isinstance(found, list) else ():
        uri, digest = member(canary, *CANARY_URI), member(canary, "predictor", "annotations", ANNOTATION_DIGEST)
        if isinstance(uri, str) and uri:
            kept: WireCanary = {"predictor": {"model": {"storageUri": uri}}}
            if isinstance(digest, str) and digest:
                kept["predictor"]["annotations"] = {ANNOTATION_DIGEST: digest}
            yield kept


def _served(service: WireService) -> Iterable[tuple[str, str]]:
    """The folder and the digest of each artifact of a service; the stable predictor's comes first.

    A canary without a digest of its own has that of the service, as its Pods do. Where no digest is said, it is empty.
    """
    if "spec" not in service:
        return
    stable = served_digest(service)
    yield folder_of(service["spec"]["predictor"]["model"]["storageUri"]), stable
    for canary in service["spec"].get("canary", ()):
        predictor = canary["predictor"]
        own = predictor.get("annotations", {}).get(ANNOTATION_DIGEST, stable)
        yield folder_of(predictor["model"]["storageUri"]), own


def served_folder(service: WireService) -> Iterable[str]:
    """Values of ``BY_SERVED``: the folders that a service loads; the stable predictor's comes first."""
    return dict.fromkeys(folder for folder, _ in _served(service))


def served_digest(service: WireService) -> str:
    """The digest in a service's annotation, empty where the service has none."""
    return (service["metadata"].get("annotations") or {}).get(ANNOTATION_DIGEST, "")


def served_artifacts(service: WireService) -> Iterable[str]:
    """Values of ``BY_DIGEST``: a line with the digest and a line with the folder for each artifact of a service."""
    return (f"{digest}\n{folder}" for folder, digest in _served(service))


def service_part(service: WireService) -> object:
    """What decides which versions run, and whether admission let the service in with the digests of the versions."""
    return list(_served(service))


def run_by_service(service: WireService, caches: Caches) -> Iterable[ObjectKey]:
    """The versions that a service runs."""
    for folder in served_folder(service):
        yield from caches.select(_VERSIONS, BY_SERVED, folder)


def run_in_namespace(namespace: WireObject, caches: Caches) -> Iterable[ObjectKey]:
    """The versions that the services of a namespace run."""
    services = caches[_SERVICES]
    keys = services.select(BY_NAMESPACE, namespace["metadata"]["name"])
    for folder in {folder for key in keys for folder in services.indexed(key, BY_SERVED)}:
        yield from caches.select(_VERSIONS, BY_SERVED, folder)


def shown_as_running(caches: Caches) -> Iterable[ObjectKey]:
    """The versions that services run, and those whose status still says so."""
    for folder in caches[_SERVICES].values(BY_SERVED):
        yield from caches.select(_VERSIONS, BY_SERVED, folder)
    for stage in caches[_VERSIONS].values(BY_DEPLOYED):
        yield from caches.select(_VERSIONS, BY_DEPLOYED, stage)
