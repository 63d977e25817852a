"""KServe's InferenceService as JSON: the members that Gatehouse reads.

KServe owns the kind, and its versions differ. A member may be absent or of another type, so readers take an
InferenceService by the paths below. The types describe what the cache keeps.
"""

from __future__ import annotations

from typing import Final, NotRequired, TypedDict

from gatehouse.api.wire import WireObject

__all__ = ["SERVED_URI", "SERVICE_RUNTIME", "SERVICE_URL", "WireService", "WireServiceSpec"]

SERVED_URI: Final = ("spec", "predictor", "model", "storageUri")
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


class WireServiceSpec(TypedDict):
    """``spec`` of a service."""

    predictor: WirePredictor


class WireService(WireObject):
    """An InferenceService, without ``spec`` where the service names no artifact."""

    spec: NotRequired[WireServiceSpec]
    status: NotRequired[WireServiceStatus]
