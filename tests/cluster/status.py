"""Reading a status as people and kstatus do."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

__all__ = ["Manifest", "condition", "kstatus"]

Manifest = dict[str, Any]


def condition(body: Manifest, type_: str) -> Manifest | None:
    """A condition of an object."""
    found: Iterable[Manifest] = body["status"].get("conditions", ())
    return next((each for each in found if each["type"] == type_), None)


def kstatus(body: Manifest) -> list[str]:
    """In which ways a final status is none that kstatus can read; empty when it conforms.

    kstatus holds an object for in progress until observedGeneration is its generation, for failed while Stalled is
    True and for in progress while Reconciling is True; both are abnormal and must be gone otherwise.
    """
    generation, status = body["metadata"]["generation"], body["status"]
    conditions = status.get("conditions", [])
    types = [each["type"] for each in conditions]
    broken = []
    if status.get("observedGeneration") != generation:
        broken.append(f"observedGeneration {status.get('observedGeneration')} of generation {generation}")
    if types.count("Ready") != 1 or len(set(types)) != len(types):
        broken.append(f"condition types {types}")
    broken += [
        f"{each['type']} is {each['status']}, it should be absent"
        for each in conditions
        if each["type"] in {"Reconciling", "Stalled"} and each["status"] != "True"
    ]
    broken += [
        f"{each['type']} has observedGeneration {each.get('observedGeneration')}"
        for each in conditions
        if each.get("observedGeneration") != generation
    ]
    ready = condition(body, "Ready")
    abnormal = {"Reconciling", "Stalled"} & set(types)
    if abnormal == {"Reconciling", "Stalled"}:
        broken.append("Reconciling and Stalled at once")
    if ready is not None and ready["status"] == "True" and "Stalled" in types:
        broken.append("Ready and Stalled at once")
    return broken
