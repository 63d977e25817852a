"""KServe's InferenceService as JSON: the members that Gatehouse reads.

KServe owns the kind, and its versions differ. A member may be absent or of another type, so readers take an
InferenceService by the paths below. The types describe what the cache keeps.
"""

from __future__ import annotations

from typing import Final, NotRequired, TypedDict

from gatehouse.api.wire import WireObject

__all__ = [
    "CANARIES",
    "CANARY_URI",
    "SERVED_URI",
    "SERVICE_RUNTIME",
    "SERVICE_URL",
    "WireCanary",
    "WireService",
    "WireServiceSpec",
]

SERVED_URI: Final = ("spec", "predictor", "model", "storageUri")
CANARIES: Final = ("spec", "canary")
CANARY_URI: Final = ("predictor", "model", "storageUri")
"""In an entry of ``CANARIES``."""
SERVICE_RUNTIME: Final = ("spec", "predictor", "model", "runtime")
SERVICE_URL: Final = ("status", "url")


class WirePredictorModel(TypedDict):
    """``spec.predictor.model`` of a service."""

    storageUri: str
    runtime: NotRequired[str]


class WireServiceStatus(TypedDict, total=False):
    """``status`` of a service."""

    url: str


class WirePredictor(TypedDict):
    """``spec.predictor`` of a service."""

    model: WirePredictorModel


class WireCanaryPredictor(TypedDict):
    """``spec.canary[].predictor`` of a service: a canary with an artifact of its own."""

    model: WirePredictorModel
    annotations: NotRequired[dict[str, str]]


class WireCanary(TypedDict):
    """An entry of ``spec.canary`` of a service."""

    predictor: WireCanaryPredictor


class WireServiceSpec(TypedDict):
    """``spec`` of a service."""

    predictor: WirePredictor
    canary: NotRequired[list[WireCanary]]


class WireService(WireObject):
    """An InferenceService, without ``spec`` where the service names no artifact."""

    spec: NotRequired[WireServiceSpec]
    status: NotRequired[WireServiceStatus]
