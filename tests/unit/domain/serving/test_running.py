"""What a Pod runs, as Pods of any shape tell it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatehouse.domain.serving.running import PodModel, count_pods, pod_model

DIGEST = "sha256:" + "a" * 64
URI = "s3://models/granite"


def a_pod(**changes: Any) -> dict[str, Any]:
    made: dict[str, Any] = {
        "labels": {"serving.kserve.io/inferenceservice": "chat"},
        "annotations": {"gatehouse.dev/artifact-digest": DIGEST},
        "init": [{"name": "storage-initializer", "args": [URI, "/mnt/models"]}],
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
        "metadata": {},
    } | changes
    metadata = {"name": "p", "namespace": "team-a", "labels": made["labels"], "annotations": made["annotations"]}
    return {
        "metadata": metadata | made["metadata"],
        "spec": {"initContainers": made["init"]},
        "status": made["status"],
    }


RUNS = PodModel("team-a", "chat", f"{URI}/", DIGEST, ready=True)


def test_a_pod_tells_what_it_loaded() -> None:
    assert pod_model(a_pod()) == RUNS


def test_a_pod_of_an_llminferenceservice_has_its_name_in_another_label() -> None:
    labels = {"app.kubernetes.io/part-of": "llminferenceservice", "app.kubernetes.io/name": "chat"}
    assert pod_model(a_pod(labels=labels)) == RUNS


@pytest.mark.parametrize("phase", ["Pending", "Succeeded", "Failed", "Unknown", None])
def test_a_pod_whose_server_does_not_run_runs_nothing(phase: str | None) -> None:
    assert pod_model(a_pod(status={"phase": phase})) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"status": {"phase": "Running"}},
        {"status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "False"}]}},
        {"status": {"phase": "Running", "conditions": [{"type": "ContainersReady", "status": "True"}]}},
        {"metadata": {"deletionTimestamp": "2026-11-21T12:00:00Z"}},
    ],
)
def test_a_pod_that_gets_no_requests_is_not_ready(changes: dict[str, Any]) -> None:
    assert pod_model(a_pod(**changes)) == RUNS._replace(ready=False)


@pytest.mark.parametrize("init", [[], None, "x", [{}], [{"args": []}], [{"args": [7]}], [{"args": [URI]}] * 2])
def test_a_uri_that_is_not_told_is_unknown(init: object) -> None:
    found = pod_model(a_pod(init=init))
    assert found == RUNS._replace(folder="")


@pytest.mark.parametrize("digest", ["", "sha256:", "sha256:" + "A" * 64, f"{DIGEST}\n", "x" * 300_000, 7, None])
def test_a_digest_that_is_none_is_unknown(digest: object) -> None:
    assert pod_model(a_pod(annotations={"gatehouse.dev/artifact-digest": digest})) == RUNS._replace(digest="")


def test_a_uri_longer_than_any_of_a_version_is_unknown() -> None:
    found = pod_model(a_pod(init=[{"args": ["s3://" + "x" * 1_024]}]))
    assert found == RUNS._replace(folder="")


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.fixed_dictionaries({}, optional=dict.fromkeys(("labels", "annotations", "init"), _JSON)), _JSON)
def test_no_shape_of_a_pod_is_an_error(changes: dict[str, Any], conditions: Any) -> None:
    found = pod_model(a_pod(status={"phase": "Running", "conditions": conditions}, **changes))
    assert isinstance(found, PodModel)


_MODELS = st.builds(
    PodModel,
    namespace=st.sampled_from("ab"),
    service=st.sampled_from("st"),
    folder=st.sampled_from(["", "s3://m/v1/"]),
    digest=st.sampled_from(["", DIGEST]),
    ready=st.booleans(),
)


@given(st.lists(_MODELS), st.randoms())
def test_counts_lose_no_pod_and_know_no_order(models: list[PodModel], random: Any) -> None:
    found = count_pods(models)
    assert sum(each.pods for each in found) == len(models)
    assert sum(each.ready for each in found) == sum(model.ready for model in models)
    assert all(0 <= each.ready <= each.pods for each in found)
    random.shuffle(models)
    assert count_pods(models) == found
    assert list(found) == sorted(found)
