"""InferenceServices at the gate, as a developer brings them: what Gatehouse emits passes, and nothing else does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from cluster.admission.evasions import INTERNAL, OVERRIDES, URIS
from cluster.admission.fields import ANNOTATIONS, LABELS, MODEL, PREDICTOR, Changes
from cluster.gated import (
    ADDED,
    DIGEST,
    NO_LIST,
    REASON,
    REFUSED,
    RETAINED,
    STAGE,
    URI,
    Gate,
    altered,
    refusal,
    send,
    vetted,
)
from cluster.kservepods import mutated_by_kserve
from cluster.rig import until
from gatehouse.api.model_registry import ServingDefaults
from gatehouse.api.model_version import Serving
from gatehouse.domain.runtimes.arguments import HARMLESS_ARGUMENTS, check_serving
from gatehouse_local.errors import ApiRefused
from unit.domain.hardware.fits import granite
from unit.domain.serving.serving_inputs import AWQ

EMITTED: Mapping[str, Mapping[str, Any]] = {
    "l4": {},
    "two-h100": {
        "machine": "nvidia-h100-80gb",
        "count": 2,
        "kv_cache_dtype": "fp8",
        "serving": {"extraArgs": ["--enable-auto-tool-choice", "--tool-call-parser=granite"]},
        "defaults": ServingDefaults(label_prefix="modelregistry.kubeflow.org", connection_secret="models"),
    },
    "t4": {"machine": "nvidia-t4", "config": granite(quantization=AWQ), "description": None, "display_name": None},
    "mi300x": {"machine": "amd-mi300x"},
}
"""What the golden files of the template are made of."""


@pytest.mark.parametrize("name", EMITTED)
def test_what_the_template_emits_passes(gate: Gate, name: str) -> None:
    service = gate.service(**EMITTED[name])
    assert send(gate.developer, service)
    assert send(gate.developer, mutated_by_kserve(service))
    assert send(gate.developer, gate.runtime(**EMITTED[name]))


@pytest.mark.parametrize("uri", URIS.values(), ids=list(URIS))
def test_only_the_vetted_uri_passes_just_as_it_is_written(gate: Gate, uri: Any) -> None:
    said = refusal(gate.developer, gate.service({(*MODEL, "storageUri"): uri}))
    helpful(said, gate, uri=str(uri).strip() or "no storageUri")


@pytest.mark.parametrize("changes", OVERRIDES.values(), ids=list(OVERRIDES))
def test_nothing_overrides_the_vetted_artifact(gate: Gate, changes: Changes) -> None:
    said = refusal(gate.developer, gate.service(changes))
    helpful(said, gate, uri=URI if MODEL not in changes else "no storageUri")


def helpful(said: str, gate: Gate, *, uri: str) -> None:
    assert uri in said
    assert f"stage {STAGE}" in said
    assert gate.namespace in said
    assert "gatehouse explain" in said


def test_every_argument_that_a_version_may_set_passes_and_its_pods_too(gate: Gate) -> None:
    named = [each if "=" in each else f"{each}=x" for each in HARMLESS_ARGUMENTS]
    serving = Serving.model_construct(extra_args=[*named, *ADDED], env=[])
    check_serving(serving, added=ADDED)
    arguments = [*gate.service()["spec"]["predictor"]["model"]["args"], *serving.extra_args]
    assert send(gate.developer, gate.service({(*MODEL, "args"): arguments}))
    given = gate.pod()["spec"]["containers"][0]["args"]
    assert send(gate.developer, gate.pod({("spec", "containers", 0, "args"): [*given, *serving.extra_args]}))


def test_only_the_file_that_is_listed_with_an_artifact_stands_for_its_folder(gate: Gate) -> None:
    """As a GGUF model is served. Its Pods pass too; no other file does, and none where no file is listed."""
    file, folder = "Q8_0/model.gguf", ("spec", "containers", 0, "args")
    service = gate.service(model_file=file)
    assert service["spec"]["predictor"]["model"]["args"][0] == f"--model=/mnt/models/{file}"
    pod = gate.pod()
    served = altered(pod, {(*folder, -1): f"--model=/mnt/models/{file}"})
    assert "--model=/mnt/models/" in refusal(gate.developer, service)
    assert "--model=/mnt/models/" in refusal(gate.developer, served)
    gate.vet(vetted(files={URI: file}))
    gate.settle(accepts=service)
    gate.settle(accepts=served)
    assert send(gate.developer, gate.service())
    for other in ("", "model.gguf", f"{file}x", f"../models/{file}", "Q8_0", f"{file} --trust-remote-code"):
        argument = f"--model=/mnt/models/{other}"
        assert argument in refusal(gate.developer, gate.service({(*MODEL, "args", -1): argument}))
        assert argument in refusal(gate.developer, altered(pod, {(*folder, -1): argument}))
    gate.vet(vetted())
    gate.settle(refuses=service)


@pytest.mark.parametrize(
    ("argument", "passes"),
    [
        ("--max_num_seqs=64", True),
        ("--max_num-seqs=64", True),
        ("--enable_prefix_caching", True),
        ("--load_format=safetensors", True),
        ("--tool_call_parser=my_parser", True),
        ("--load_format=npcache", False),
        ("--load-format=safe_tensors", False),
        ("--trust_remote_code", False),
        ("--served_model_name=other", False),
        ("--model_impl=/mnt/other", False),
        ("--_model=other", False),
    ],
)
def test_an_underscore_in_a_flag_is_a_dash_as_for_vllm(gate: Gate, argument: str, passes: bool) -> None:
    arguments = [*gate.service()["spec"]["predictor"]["model"]["args"], argument]
    service = gate.service({(*MODEL, "args"): arguments})
    given = gate.pod()["spec"]["containers"][0]["args"]
    pod = gate.pod({("spec", "containers", 0, "args"): [*given, argument]})
    if passes:
        assert send(gate.developer, service)
        assert send(gate.developer, pod)
    else:
        assert f"spec.predictor.model.args has {argument}" in refusal(gate.developer, service)
        assert argument in refusal(gate.developer, pod)


@pytest.mark.parametrize("arguments", [["--max-num-seqs", "64"], ["--max-num-seqs 64"]])
def test_a_flag_and_its_value_apart_are_told_to_be_one_argument(gate: Gate, arguments: list[str]) -> None:
    before = gate.service()["spec"]["predictor"]["model"]["args"]
    said = refusal(gate.developer, gate.service({(*MODEL, "args"): [*before, *arguments]}))
    assert "a flag and its value are one argument, as in --max-num-seqs=64" in said
    given = gate.pod()["spec"]["containers"][0]["args"]
    said = refusal(gate.developer, gate.pod({("spec", "containers", 0, "args"): [*given, *arguments]}))
    assert "a flag and its value are one argument, as in --max-num-seqs=64" in said


def test_the_message_for_an_argument_names_it_the_list_and_the_way_out(gate: Gate) -> None:
    said = refusal(gate.developer, gate.service({(*MODEL, "args", -1): "--enable-dbo"}))
    assert "spec.predictor.model.args has --enable-dbo, and each must be --flag or --flag=value" in said
    assert f"spec.arguments in VettedArtifacts {STAGE}.models" in said
    assert "spec.serving.allowedArguments" in said


def test_lists_from_before_there_were_arguments_let_none_through(gate: Gate) -> None:
    gate.vet(vetted(arguments={}))
    gate.settle(refuses=gate.service())
    assert "spec.predictor.model.args has --max-model-len" in refusal(gate.developer, gate.service())
    gate.vet(vetted())
    gate.settle(accepts=gate.service())


def test_the_message_tells_the_version_its_gate_and_what_to_do(gate: Gate) -> None:
    said = refusal(gate.developer, gate.service(uri=REFUSED))
    assert f"{REFUSED} (stage {STAGE}): the artifact is not cleared for {STAGE}: {REASON}" in said
    assert "gatehouse explain tampered-1 -n private-ai says what is missing and who can do it" in said


def test_the_message_for_a_model_from_elsewhere_tells_the_way(gate: Gate) -> None:
    said = refusal(gate.developer, gate.service({(*MODEL, "storageUri"): "hf://ibm-granite/granite"}))
    assert "hf://ibm-granite/granite" in said
    assert "gatehouse template" in said or "gatehouse explain" in said


def test_a_cluster_administrator_is_let_through_no_more_than_anybody(gate: Gate) -> None:
    """He lets a model in by having it approved, or by the labels of the namespace; never past the gate."""
    assert REASON in refusal(gate.admin, gate.service(uri=REFUSED))


def test_an_artifact_cleared_for_another_stage_only_is_refused(gate: Gate) -> None:
    with gate.another(stage="staging") as staging:
        staging.settle(refuses=staging.service())
        said = refusal(staging.developer, staging.service())
    assert "not cleared for staging" in said


def test_a_stage_that_no_list_knows_lets_nothing_through(gate: Gate) -> None:
    with gate.another(stage="nowhere") as nowhere:
        nowhere.settle(refuses=nowhere.service())
        said = refusal(nowhere.developer, nowhere.service())
    assert "cleared for nowhere" in said


# What is there already


def test_what_an_update_changes_is_looked_at(gate: Gate) -> None:
    service = gate.service()
    created = send(gate.developer, service, query="fieldManager=test")
    try:
        for changes in (
            {(*MODEL, "storageUri"): REFUSED},
            {(*ANNOTATIONS, "gatehouse.dev/artifact-digest"): f"sha256:{'e' * 64}"},
            {(*LABELS, f"{INTERNAL}/localmodel"): "evil"},
            {(*PREDICTOR, "hostNetwork"): True},
        ):
            changed = gate.service({**changes, ("metadata", "resourceVersion"): created["metadata"]["resourceVersion"]})
            assert f"stage {STAGE}" in refusal(gate.developer, changed, method="PUT")
    finally:
        gate.developer.request("DELETE", gate.developer.path_of(service))


def test_a_service_that_is_not_cleared_any_more_is_finalized_stopped_and_deleted_and_not_changed(gate: Gate) -> None:
    with gate.another(stage=STAGE, gate="Off") as late:
        late.settle(accepts=late.service(uri=REFUSED))
        service = late.service(uri=REFUSED)
        path = late.developer.path_of(service)
        send(late.developer, service, query="fieldManager=test")
        late.admin.apply(labelled(late, stage=STAGE))
        late.settle(refuses=service | {"metadata": service["metadata"] | {"name": "other"}})

        def patch(body: Mapping[str, Any], where: str = path) -> Any:
            return late.developer.request("PATCH", where, body, content_type="application/merge-patch+json")

        assert patch({"metadata": {"finalizers": ["test.example.com/x"]}})
        with pytest.raises(ApiRefused, match=REASON):
            patch({"spec": {"predictor": {"maxReplicas": 2}}})
        assert patch({"metadata": {"annotations": {"serving.kserve.io/stop": "true"}}})
        with pytest.raises(ApiRefused, match=REASON):
            patch({"metadata": {"annotations": {"serving.kserve.io/stop": None}}})
        late.developer.request("DELETE", path)
        assert patch({"metadata": {"finalizers": None}})


def test_what_a_policy_lets_run_on_may_be_changed_and_not_made_anew(gate: Gate) -> None:
    with gate.another(stage=STAGE, gate="Off") as late:
        service = late.service(uri=RETAINED)
        late.settle(accepts=service)
        send(late.developer, service, query="fieldManager=test")
        late.admin.apply(labelled(late, stage=STAGE))
        another = service | {"metadata": service["metadata"] | {"name": "other"}}
        late.settle(refuses=another)
        path = f"{late.developer.path_of(service)}?dryRun=All"

        def may_change() -> bool:
            patch = {"spec": {"predictor": {"maxReplicas": 2}}}
            try:
                late.developer.request("PATCH", path, patch, content_type="application/merge-patch+json")
            except ApiRefused:
                return False
            return True

        assert not may_change(), "it is retained in another namespace only"
        try:
            late.vet(vetted(retained={f"{late.namespace} {RETAINED}": DIGEST}))
            until(may_change, what="the service may not be changed where it was admitted")
            assert f"{RETAINED} (stage {STAGE})" in refusal(late.developer, another)
        finally:
            late.vet(vetted())


def labelled(gate: Gate, **labels: str) -> Mapping[str, Any]:
    marks = {f"gatehouse.dev/{key}": value for key, value in labels.items()}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": gate.namespace, "labels": marks}}


# The lists


def test_what_is_taken_off_the_list_is_refused_and_what_is_put_on_passes(gate: Gate) -> None:
    fresh = "s3://models/fresh/"
    gate.vet(vetted(artifacts={URI: DIGEST, fresh: DIGEST}))
    gate.settle(accepts=gate.service(uri=fresh))
    gate.vet(vetted())
    gate.settle(refuses=gate.service(uri=fresh), accepts=gate.service())


def test_without_any_list_nothing_passes(gate: Gate) -> None:
    path = "/apis/gatehouse.dev/v1alpha1/vettedartifacts"
    bodies = gate.operator.request("GET", path)["items"]
    try:
        for body in bodies:
            gate.operator.request("DELETE", f"{path}/{body['metadata']['name']}")
        gate.settle(refuses=gate.service())
        assert NO_LIST in refusal(gate.developer, gate.service())
        assert NO_LIST in refusal(gate.developer, gate.pod())
    finally:
        for body in bodies:
            gate.vet(
                {key: body[key] for key in ("apiVersion", "kind", "spec")}
                | {"metadata": {"name": body["metadata"]["name"]}}
            )
        gate.settle(accepts=gate.service())
        gate.settle(accepts=gate.pod())
