"""What Argo CD shows of each kind, by the shipped scripts, on statuses that the operator's own code wrote."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from gatehouse.api import KINDS
from unit.gitops.argo import HEALTH, Health, HealthTest, ScriptError, health, health_tests, run, script
from unit.gitops.cases import CASES, OPENSHIFT, openshift_text, text

RECORDS = {"ModelApproval", "ModelEvaluation", "VettedArtifacts"}
"""Nothing is reconciled from them, so that there is no health that they could have."""
NAMES = sorted(kind.info.kind for kind in KINDS if kind.info.kind not in RECORDS)
TESTS = health_tests()


@pytest.mark.parametrize("case", TESTS, ids=lambda case: f"{case.kind}-{case.path}")
def test_argo_cd_shows_what_is_expected(case: HealthTest) -> None:
    assert health(case.body) == case.health


def test_every_kind_has_a_check_with_test_data() -> None:
    assert sorted(path.name for path in HEALTH.iterdir()) == NAMES
    assert sorted(CASES) == NAMES


@pytest.mark.parametrize("kind", NAMES)
def test_every_file_of_test_data_is_expected_once(kind: str) -> None:
    expected = [case.path for case in TESTS if case.kind == kind]
    files = [f"testdata/{path.name}" for path in (HEALTH / kind / "testdata").iterdir()]
    assert sorted(expected) == sorted(files) == sorted(f"testdata/{name}.yaml" for name in CASES[kind])


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, cases in CASES.items() for name in cases])
def test_the_test_data_is_what_the_operator_writes(kind: str, name: str) -> None:
    assert (HEALTH / kind / "testdata" / f"{name}.yaml").read_text() == text(kind, name)


def test_kinds_without_phases_share_one_script() -> None:
    texts = {script(kind).replace(f"a {kind} for", "a KIND for") for kind in NAMES if kind != "ModelVersion"}
    assert len(texts) == 1


def test_openshift_gitops_gets_the_same_scripts() -> None:
    assert OPENSHIFT.read_text() == openshift_text()
    checks = yaml.safe_load(OPENSHIFT.read_text())["spec"]["resourceHealthChecks"]
    assert {each["kind"]: each["check"] for each in checks} == {kind: script(kind) for kind in NAMES}


# Whatever a status holds


def condition(kind: str) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {"type": st.just(kind), "status": st.sampled_from(["True", "False", "Unknown"]), "reason": st.just("Because")},
        optional={"message": st.text(max_size=5)},
    )


STATUS = st.fixed_dictionaries(
    {},
    optional={
        "observedGeneration": st.integers(-1, 3),
        "phase": st.sampled_from(["Draft", "Waiting", "Archived", "Deprecated", "Pending Review", "Ready to Deploy"]),
        "conditions": st.permutations(["Ready", "Reconciling", "Stalled", "Registered"]).flatmap(
            lambda kinds: st.integers(0, 4).flatmap(
                lambda count: st.tuples(*(condition(kind) for kind in kinds[:count])).map(list)
            )
        ),
    },
)


@pytest.mark.parametrize("kind", NAMES)
@given(status=st.none() | STATUS)
def test_nothing_is_healthy_without_being_ready_now(kind: str, status: dict[str, Any] | None) -> None:
    body: dict[str, Any] = {"apiVersion": "gatehouse.dev/v1alpha1", "kind": kind, "metadata": {"generation": 2}}
    if status is not None:
        body["status"] = status
    found = health(body)
    known = status or {}
    values = {each["type"]: each["status"] for each in known.get("conditions", ())}
    current = known.get("observedGeneration") == 2
    if not current:
        assert found.status == "Progressing"
    elif values.get("Stalled") == "True":
        assert found.status == "Degraded"
    elif found.status == "Healthy":
        withdrawn = kind == "ModelVersion" and known.get("phase") in {"Archived", "Deprecated"}
        assert values.get("Ready") == "True" or withdrawn
        assert values.get("Reconciling") != "True"


# The interpreter of these tests is as strict as Argo CD's


@pytest.mark.parametrize(
    "source",
    [
        'return {status = string.upper("healthy")}',
        'return {status = ("x"):upper()}',
        'return {status = io.open("/etc/passwd"):read()}',
        'return {status = os.getenv("HOME")}',
        "return {status = tostring(math.pi)}",
        'return {status = require("os")}',
        "return python",
        "while true do end",
        "return nil",
        'return "Healthy"',
        "return {}",
        'return {status = "healthy"}',
        'return {status = "Healthy", message = obj}',
        "return {status = obj.status.phase.name}",
        "return {",
    ],
)
def test_a_script_that_argo_cd_would_refuse_is_refused(source: str) -> None:
    with pytest.raises(ScriptError):
        run(source, {"status": {}})


def test_lists_and_numbers_arrive_as_in_argo_cd() -> None:
    source = 'return {status = obj.a[2] == 3 and #obj.a == 2 and obj.b == nil and "Healthy" or "Unknown"}'
    assert run(source, {"a": [1, 3]}) == Health("Healthy", "")
