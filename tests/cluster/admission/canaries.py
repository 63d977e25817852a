"""A good canary, and every way past the gate taken in a canary instead of the stable predictor.

The ways are those of ``evasions``, with their paths moved: a way that is added there is tried here too.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, Final

from cluster.admission.evasions import OVERRIDES, URIS
from cluster.admission.fields import MODEL, PREDICTOR, Changes
from cluster.admission.uses import USES
from cluster.gated import DIGEST, NEXT, NEXT_DIGEST
from cluster.status import Manifest

__all__ = ["CANARY", "CANARY_USES", "CANARY_WAYS", "ENTRY", "INHERITED", "good_canary", "with_canary"]

CANARY: Final = ("spec", "canary")
ENTRY: Final = (*CANARY, 0)
DIGEST_KEY: Final = "gatehouse.dev/artifact-digest"
INHERITED: Final = ("no storage", "a runtime of KServe's choice")
"""What a canary may leave out: KServe takes it from the stable predictor."""
_FIXED: Final = ("autoScaling", "maxReplicas", "scaleMetric", "scaleMetricType", "scaleTarget")


def good_canary(service: Manifest, *, name: str = "next", percent: int = 10, **model: Any) -> Manifest:
    """A canary of a service: the artifact ``NEXT``, else as the stable predictor."""
    stable = service["spec"]["predictor"]["model"]
    kept = {key: stable[key] for key in ("modelFormat", "runtime", "storage", "args") if key in stable}
    return {
        "predictor": {
            "name": name,
            "annotations": {DIGEST_KEY: NEXT_DIGEST},
            "model": {**kept, "storageUri": NEXT, **model},
        },
        "trafficPercent": percent,
    }


def with_canary(service: Manifest) -> Changes:
    """What gives a service the canary."""
    return {CANARY: [good_canary(service)]}


def _moved(changes: Changes) -> dict[tuple[str | int, ...], Any]:
    """The changes of the stable predictor as changes of the first canary."""
    return {(*ENTRY, *path[1:]) if path[:2] == PREDICTOR else path: value for path, value in changes.items()}


def _of_predictors(changes: Changes) -> bool:
    return any(path[:2] == PREDICTOR for path in changes)


CANARY_WAYS: Final[Mapping[str, Changes]] = {
    **{
        name: _moved(changes)
        for name, changes in OVERRIDES.items()
        if _of_predictors(changes) and name not in INHERITED
    },
    **{f"URI {name}": _moved({(*MODEL, "storageUri"): uri}) for name, uri in URIS.items()},
    # What only a canary has.
    "no digest of its own": {(*ENTRY, "predictor", "annotations"): None},
    "the digest of the stable artifact": {(*ENTRY, "predictor", "annotations", DIGEST_KEY): DIGEST},
    "no name": {(*ENTRY, "predictor", "name"): None},
    "a name with a line break": {(*ENTRY, "predictor", "name"): "next\n"},
    "a name in capitals": {(*ENTRY, "predictor", "name"): "Next"},
    "a long name": {(*ENTRY, "predictor", "name"): "n" * 41},
    "a name with a dot": {(*ENTRY, "predictor", "name"): "a.b"},
    "no model": {(*ENTRY, "predictor", "model"): None},
    "no format": {(*ENTRY, "predictor", "model", "modelFormat"): None},
    "no predictor": {(*ENTRY, "predictor"): None},
    "no share": {(*ENTRY, "trafficPercent"): None},
    "a share below 0": {(*ENTRY, "trafficPercent"): -1},
    "a share above 100": {(*ENTRY, "trafficPercent"): 101},
    "a share in words": {(*ENTRY, "trafficPercent"): "10"},
    "another field": {(*ENTRY, "transformer"): {"containers": [{"name": "sidecar", "image": "evil"}]}},
    **{f"the fixed field {field}": {(*ENTRY, "predictor", field): 1} for field in _FIXED if field != "autoScaling"},
    "the fixed field autoScaling": {(*ENTRY, "predictor", "autoScaling"): {"metrics": []}},
}
CANARY_USES: Final[Mapping[str, Changes]] = {
    name: {**copy.deepcopy(_moved(changes)), (*ENTRY, "predictor", "annotations", DIGEST_KEY): NEXT_DIGEST}
    for name, changes in USES.items()
    if _of_predictors(changes) and not any(path[2:3] == (field,) for path in changes for field in _FIXED)
}
