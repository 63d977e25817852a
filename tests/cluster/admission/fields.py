"""Paths to the fields of an InferenceService, and changes of fields."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

PREDICTOR = ("spec", "predictor")
MODEL = (*PREDICTOR, "model")
ANNOTATIONS, LABELS = ("metadata", "annotations"), ("metadata", "labels")
Changes = Mapping[tuple[str | int, ...], Any]
