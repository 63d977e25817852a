"""What the Pods of models run: the artifact that each loaded, and whether each is ready.

A Pod loads the URI in the first argument of its only init container, which is KServe's storage initializer. Its
annotation has the digest under which admission let the Pod load that URI, and admission lets no one change the digest
of a Pod. So a Pod tells what runs. An InferenceService only tells what shall run: KServe may report it as ready while
an older Pod serves, or while it no longer follows its spec.

Source of the labels: ``pkg/constants`` of https://github.com/kserve/kserve, release 0.20.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from gatehouse.domain.common.locations import folder_of
from gatehouse.domain.common.readable import member
from gatehouse.domain.serving.template import ANNOTATION_DIGEST

__all__ = ["SELECTORS", "PodModel", "RunningPods", "StagedPods", "count_pods", "pod_model"]

_SERVICE: Final = "serving.kserve.io/inferenceservice"
_PART_OF: Final = "app.kubernetes.io/part-of"
_NAME: Final = "app.kubernetes.io/name"
_LLM: Final = "llminferenceservice"
SELECTORS: Final = (_SERVICE, f"{_PART_OF}={_LLM},!{_SERVICE}")
"""The label selectors of the Pods of InferenceServices, and of those of LLMInferenceServices."""
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}", re.ASCII)
_LONGEST_URI: Final = 1024
_LONGEST_SERVICE: Final = 253


class PodModel(NamedTuple):
    """What a Pod runs. ``folder`` and ``digest`` are empty where the Pod does not tell."""

    namespace: str
    service: str
    folder: str
    digest: str
    ready: bool


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class RunningPods:
    """The Pods of a service that run the same artifact; ``ready`` of them take requests."""

    namespace: str
    service: str
    folder: str
    digest: str
    pods: int
    ready: int


class StagedPods(NamedTuple):
    """Pods in a namespace of a stage."""

    stage: str
    pods: RunningPods


def pod_model(pod: Mapping[str, Any]) -> PodModel | None:
    """What a Pod runs; None for a Pod whose model server has not started or has ended."""
    if member(pod, "status", "phase") != "Running":
        return None
    metadata = pod["metadata"]
    labels, annotations = member(metadata, "labels"), member(metadata, "annotations")
    service = _text(labels, _SERVICE, most=_LONGEST_SERVICE) or _text(labels, _NAME, most=_LONGEST_SERVICE)
    digest = _text(annotations, ANNOTATION_DIGEST, most=len("sha256:") + 64)
    uri = _uri(pod)
    return PodModel(
        namespace=metadata["namespace"],
        service=service,
        folder=folder_of(uri) if uri else "",
        digest=digest if _DIGEST.fullmatch(digest) else "",
        ready=_is_ready(pod),
    )


def count_pods(models: Iterable[PodModel]) -> tuple[RunningPods, ...]:
    """The Pods of each service and artifact, sorted."""
    pods = Counter[tuple[str, str, str, str]]()
    ready = Counter[tuple[str, str, str, str]]()
    for model in models:
        key = model[:4]
        pods[key] += 1
        ready[key] += model.ready
    return tuple(
        RunningPods(namespace=key[0], service=key[1], folder=key[2], digest=key[3], pods=count, ready=ready[key])
        for key, count in sorted(pods.items())
    )


def _uri(pod: Mapping[str, Any]) -> str:
    """The first argument of the only init container; empty for a Pod with more of them, or without arguments."""
    containers = member(pod, "spec", "initContainers")
    arguments = member(containers[0], "args") if isinstance(containers, list) and len(containers) == 1 else None
    first = arguments[0] if isinstance(arguments, list) and arguments else None
    return first if isinstance(first, str) and len(first) <= _LONGEST_URI else ""


def _is_ready(pod: Mapping[str, Any]) -> bool:
    """Whether a Service sends requests to the Pod: a Pod that is being deleted gets no new ones."""
    if member(pod, "metadata", "deletionTimestamp"):
        return False
    conditions = member(pod, "status", "conditions")
    return isinstance(conditions, list) and any(
        member(each, "type") == "Ready" and member(each, "status") == "True" for each in conditions
    )


def _text(values: object, name: str, *, most: int) -> str:
    value = member(values, name)
    return value if isinstance(value, str) and len(value) <= most else ""
