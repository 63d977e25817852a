"""`gatehouse explain` for people: causes in full, what waits and what is open in a line each."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

import worlds
from gatehouse.actions.explanation import Explanation
from gatehouse.api.model_version import ModelVersion
from gatehouse.cli.explanation_output import print_explanation
from gatehouse.domain.serving.running import RunningPods, StagedPods
from gatehouse.domain.version.facts import Facts
from gatehouse.domain.version.lifecycle import decide
from gatehouse.domain.version.status import version_status
from gatehouse.printing import stdout


def explained(facts: Facts, capsys: pytest.CaptureFixture[str], *, every: bool = False) -> list[str]:
    decision = decide(facts)
    status = version_status(facts, decision, registry_id=1, template=None, now=facts.now)
    version: ModelVersion = facts.version.model_copy(update={"status": status})
    print_explanation(stdout(), Explanation(version=version), every=every)
    return capsys.readouterr().out.splitlines()


def states(lines: list[str]) -> list[str]:
    return [line[:4] for line in lines if line[:4] in {"shut", "wait", "open"}]


CASES: list[tuple[str, dict[str, Any], str, list[str]]] = [
    ("ready", {}, "is Ready to Deploy to ", ["open"]),
    (
        "nothing there",
        {"artifact": worlds.record(outcome="Missing", digest=None, summary=None)},
        "is not ready to deploy: Artifact Missing, as ArtifactVerified is shut.",
        ["shut", "wait", "open"],
    ),
    (
        "too long",
        {"version": worlds.version(serving={"maxModelLen": 131072})},
        "is not ready to deploy: Does Not Fit, as HardwareFits is shut.",
        ["shut", "wait", "open"],
    ),
    (
        "draft",
        {"version": worlds.version(state="Draft"), "artifact": None},
        "is not ready to deploy: Draft",
        ["shut", "wait", "open"],
    ),
]


def test_what_is_unknown_is_not_shown_as_open(capsys: pytest.CaptureFixture[str]) -> None:
    unknown = worlds.summary(config=replace(worlds.config(), architecture="NobodyKnowsForCausalLM"))
    lines = explained(worlds.facts(artifact=worlds.record(summary=unknown)), capsys)
    assert "unknown HardwareFits" in lines
    assert not any(line.startswith("open ") and "HardwareFits" in line for line in lines)


@pytest.mark.parametrize(
    ("changes", "headline", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_causes_come_first_and_the_rest_is_named(
    changes: dict[str, Any], headline: str, expected: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    lines = explained(worlds.facts(**changes), capsys)

    assert headline in lines[0]
    assert lines[0].endswith(".")
    assert states(lines) == expected


def test_every_gate_is_printed_in_full_on_demand(capsys: pytest.CaptureFixture[str]) -> None:
    facts = worlds.facts(artifact=worlds.record(outcome="Missing", digest=None, summary=None))

    lines = explained(facts, capsys, every=True)

    assert len(states(lines)) == len(decide(facts).gates)
    assert sum(line.startswith("     rule ") for line in lines) == len(decide(facts).gates)
    assert any(line.startswith("stage ") for line in lines)


def test_pods_that_run_what_is_not_approved_are_named_with_their_digest(capsys: pytest.CaptureFixture[str]) -> None:
    def pods(service: str, digest: str, count: int) -> StagedPods:
        found = RunningPods(
            namespace="team-a", service=service, folder=worlds.URI, digest=digest, pods=count, ready=count - 1
        )
        return StagedPods("production", found)

    running = (pods("chat", worlds.DIGEST, 2), pods("old", worlds.OTHER_DIGEST, 1))
    lines = explained(worlds.facts(row=worlds.row(), running=running), capsys)
    assert [line for line in lines if line.startswith("runs ")] == [
        f"runs 1 Pod of team-a/old in production, 0 ready: not approved, with {worlds.OTHER_DIGEST}",
        "runs 2 Pods of team-a/chat in production, 1 ready",
    ]


def test_what_was_noted_of_the_files_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    noted = worlds.record(summary=worlds.summary(notes=("the model is split into 3 files",)))
    assert "note: the model is split into 3 files" in explained(worlds.facts(artifact=noted), capsys)
