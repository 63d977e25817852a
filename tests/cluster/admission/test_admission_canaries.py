"""Canaries of an InferenceService at the gate: the rules of the stable predictor, for each of them."""

from __future__ import annotations

from typing import Any

import pytest

from cluster.admission.canaries import CANARY, CANARY_USES, CANARY_WAYS, ENTRY, INHERITED, good_canary, with_canary
from cluster.admission.evasions import OVERRIDES
from cluster.admission.fields import ANNOTATIONS, MODEL, PREDICTOR, Changes
from cluster.admission.podways import sample
from cluster.gated import (
    ADDED,
    DIGEST,
    NEXT,
    NEXT_DIGEST,
    REASON,
    REFUSED,
    STAGE,
    URI,
    Gate,
    accepted,
    altered,
    refusal,
    send,
    vetted,
)
from cluster.status import Manifest
from gatehouse.domain.runtimes.arguments import HARMLESS_ARGUMENTS
from gatehouse.domain.runtimes.environment import HARMLESS_ENVIRONMENT

PERSIST = "fieldManager=test"


def canaried(gate: Gate, changes: Changes | None = None) -> Manifest:
    """The good service with the good canary, changed."""
    service = gate.service()
    return altered(altered(service, with_canary(service)), changes or {})


def test_a_canary_of_a_cleared_artifact_passes_with_its_digest(gate: Gate) -> None:
    assert send(gate.developer, canaried(gate))


def test_a_canary_of_the_stable_artifact_needs_no_digest_of_its_own(gate: Gate) -> None:
    same = {(*ENTRY, "predictor", "model", "storageUri"): None, (*ENTRY, "predictor", "annotations"): None}
    assert send(gate.developer, canaried(gate, same))
    assert "artifact-digest of spec.canary[next].predictor.annotations is" in refusal(
        gate.developer, canaried(gate, {(*ENTRY, "predictor", "model", "storageUri"): URI})
    )


@pytest.mark.parametrize("way", CANARY_WAYS)
def test_no_way_past_the_gate_leads_through_a_canary(gate: Gate, way: str) -> None:
    said = refusal(gate.developer, canaried(gate, CANARY_WAYS[way]))
    assert f"stage {STAGE}" in said
    assert "gatehouse explain" in said
    assert "gatehouse-inferenceservice" in said


@pytest.mark.parametrize("way", INHERITED)
def test_what_a_canary_leaves_out_is_the_stable_predictor_s(gate: Gate, way: str) -> None:
    moved = {(*ENTRY, *path[1:]): value for path, value in OVERRIDES[way].items()}
    assert send(gate.developer, canaried(gate, moved))
    # KServe merges the two: so what the stable predictor must not have, the canary does not get.
    assert refusal(gate.developer, canaried(gate, {**moved, **OVERRIDES[way]}))


@pytest.mark.parametrize("use", CANARY_USES)
def test_what_people_do_to_a_stable_predictor_they_may_do_to_a_canary(gate: Gate, use: str) -> None:
    assert send(gate.developer, canaried(gate, CANARY_USES[use]))


def test_the_arguments_of_the_stable_predictor_are_judged_for_the_canary_s_artifact_too(gate: Gate) -> None:
    """A GGUF model is served by its file. The file of one artifact is none of another."""
    file = "--model=/mnt/models/model.gguf"
    service = altered(gate.service(), {(*MODEL, "args", -1): file})
    gate.vet(vetted(files={URI: "model.gguf"}))
    gate.settle(accepts=service)
    canary = good_canary(gate.service())
    canary["predictor"]["model"].pop("args")
    said = refusal(gate.developer, altered(service, {CANARY: [canary]}))
    assert f"spec.canary[next].predictor.model.args has {file}" in said
    gate.vet(vetted())
    gate.settle(refuses=service)


def test_there_are_four_canaries_at_most_with_other_names_and_a_hundred_percent(gate: Gate) -> None:
    service = gate.service()

    def of(*given: tuple[str, int]) -> Manifest:
        return altered(service, {CANARY: [good_canary(service, name=name, percent=share) for name, share in given]})

    four = [(f"c{number}", 25) for number in range(4)]
    assert send(gate.developer, of(*four))
    assert "spec.canary has 5 entries and may have 4 at most" in refusal(gate.developer, of(*four, ("c4", 0)))
    assert "spec.canary has 101 percent" in refusal(gate.developer, of(("a", 51), ("b", 50)))
    assert "different names of predictors" in refusal(gate.developer, of(("a", 1), ("a", 1)))
    named = altered(of(("a", 1)), {(*PREDICTOR, "name"): "a"})
    assert "different names of predictors" in refusal(gate.developer, named)


def test_four_canaries_with_everything_stay_within_the_budget_of_the_api_server(gate: Gate) -> None:
    """The API server refuses an object whose evaluation costs too much."""
    arguments = [*ADDED, *(each if "=" in each else f"{each}=x" for each in HARMLESS_ARGUMENTS)]
    variables = [{"name": name, "value": sample(name)} for name in HARMLESS_ENVIRONMENT]
    many = {f"example.com/{number}": "x" for number in range(100)}
    service = gate.service()
    given = service["spec"]["predictor"]["model"]["args"]
    model = {"args": [*given, *arguments], "env": variables}
    full = {(*MODEL, field): value for field, value in model.items()}
    canaries = [good_canary(service, name=f"c{number}", **model) for number in range(4)]
    for canary in canaries:
        canary["predictor"] |= {"labels": many, "annotations": canary["predictor"]["annotations"] | many}
    body = altered(service, {**full, CANARY: canaries, (*PREDICTOR, "labels"): many, (*PREDICTOR, "annotations"): many})
    assert send(gate.developer, body)
    last = (*CANARY, 3, "predictor", "model", "args", -1)
    assert "spec.canary[c3].predictor.model.args has --enable-dbo" in refusal(
        gate.developer, altered(body, {last: "--enable-dbo"})
    )


def test_each_of_several_canaries_is_judged(gate: Gate) -> None:
    service = gate.service()
    good, bad = good_canary(service, name="good"), good_canary(service, name="bad", storageUri=REFUSED)
    for entries in ([good, bad], [bad, good]):
        said = refusal(gate.developer, altered(service, {CANARY: entries}))
        assert f"not cleared for {STAGE}: {REASON} (spec.canary[bad].predictor.model.storageUri {REFUSED})" in said
        assert "gatehouse explain tampered-1 -n private-ai" in said


def test_a_canary_in_another_bucket_is_looked_up_in_the_list_of_that_bucket(gate: Gate) -> None:
    other = "s3://weights/granite/"
    there = canaried(
        gate,
        {
            (*ENTRY, "predictor", "model", "storageUri"): other,
            (*ENTRY, "predictor", "annotations", "gatehouse.dev/artifact-digest"): DIGEST,
        },
    )
    assert f"not cleared for {STAGE}" in refusal(gate.developer, there)
    gate.vet(vetted(f"{STAGE}/weights", artifacts={other: DIGEST}))
    gate.settle(accepts=there)
    nowhere = altered(there, {(*ENTRY, "predictor", "model", "storageUri"): "s3://elsewhere/granite/"})
    assert f"no artifact in the bucket elsewhere is cleared for {STAGE}" in refusal(gate.developer, nowhere)
    gate.vet(vetted(f"{STAGE}/weights"))
    gate.settle(refuses=there)


def test_the_message_for_a_field_of_a_canary_names_it_and_the_way(gate: Gate) -> None:
    said = refusal(gate.developer, canaried(gate, {(*ENTRY, "predictor", "model", "image"): "evil"}))
    assert "spec.canary[next].predictor.model.image (the ServingRuntime has it" in said


def test_a_canary_becomes_the_stable_predictor(gate: Gate) -> None:
    promoted = {
        (*PREDICTOR, "name"): "next",
        (*MODEL, "storageUri"): NEXT,
        (*ANNOTATIONS, "gatehouse.dev/artifact-digest"): NEXT_DIGEST,
    }
    assert send(gate.developer, gate.service(promoted))


def test_a_canary_that_is_not_cleared_any_more_holds_up_no_rollback_stop_or_deletion(gate: Gate) -> None:
    service = gate.service({("metadata", "name"): "withdrawn"})
    body = altered(service, with_canary(service))
    path = gate.developer.path_of(send(gate.developer, body, query=PERSIST))
    merge = "application/merge-patch+json"

    def patch(change: Any, *, query: str = "?dryRun=All") -> Manifest:
        return gate.developer.request("PATCH", f"{path}{query}", change, content_type=merge)

    try:
        patch({"metadata": {"finalizers": ["test.example.com/x"]}}, query="")
        gate.vet(vetted(artifacts={URI: DIGEST}))
        gate.settle(refuses=altered(body, {("metadata", "name"): "other"}), accepts=gate.service())
        assert patch({"spec": {"canary": None}})
        assert patch({"metadata": {"annotations": {"serving.kserve.io/stop": "true"}}})
        share = altered(send(gate.developer, body, method="GET", query=""), {(*ENTRY, "trafficPercent"): 20})
        assert f"not cleared for {STAGE}" in refusal(gate.developer, share, method="PUT")
        gate.developer.request("DELETE", path)
        with pytest.raises(Exception, match="not cleared"):
            patch({"spec": {"canary": [*with_canary(service)[CANARY], good_canary(service, name="b")]}})
    finally:
        gate.vet(vetted())
        patch({"metadata": {"finalizers": None}}, query="")
        gate.settle(accepts=body)
    assert accepted(gate.developer, body)
