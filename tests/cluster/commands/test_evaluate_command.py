"""`gatehouse evaluate import` on the real API server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from cluster.desk import AUTHOR, DIGEST, READS, Desk, make_desk
from cluster.rig import until
from gatehouse_local.ephemeral import RunningControlPlane

RESULTS = {
    "results": {
        "gsm8k": {"alias": "gsm8k", "exact_match,strict-match": 0.705, "exact_match_stderr,strict-match": 0.0125607},
        "arc": {"alias": "arc", "acc,none": 1e-05, "acc_stderr,none": "N/A"},
    },
    "versions": {"gsm8k": 3.0},
    "date": 1763726400.4,
    "lm_eval_version": "0.4.9.2",
}


@pytest.fixture
def desk(control_plane: RunningControlPlane) -> Iterator[Desk]:
    with make_desk(control_plane) as made:
        made.version("granite-1")
        yield made


@pytest.fixture
def results(tmp_path: Path) -> str:
    path = tmp_path / "results.json"
    path.write_text(json.dumps(RESULTS))
    return str(path)


def test_results_become_evaluations_of_the_caller(desk: Desk, results: str) -> None:
    said = desk.run("evaluate", "import", results, "--version=granite-1", "--apply", user=AUTHOR)
    assert said.exit_code == 0, said.output
    assert [line.split()[1] for line in said.stdout.splitlines()] == ["created", "created"]
    found = {each["spec"]["task"]: each["spec"] for each in desk.all("modelevaluations")}
    uid = desk.get("modelversions", "granite-1")["metadata"]["uid"]
    assert found["gsm8k"]["versionRef"] == {"name": "granite-1", "uid": uid}
    assert (found["gsm8k"]["digest"], found["gsm8k"]["evaluator"]) == (DIGEST, AUTHOR)
    assert found["gsm8k"]["evaluatedAt"] == "2025-11-21T12:00:00Z"
    assert found["arc"]["metrics"] == [{"name": "acc", "value": "1e-05", "slices": []}]
    again = desk.run("evaluate", "import", results, "--version=granite-1", "--apply", user=AUTHOR)
    assert [line.split()[1] for line in again.stdout.splitlines()] == ["unchanged", "unchanged"]
    assert len(desk.all("modelevaluations")) == 2


def test_an_evaluation_is_taken_back_by_who_may(desk: Desk, results: str) -> None:
    desk.run("evaluate", "import", results, "--version=granite-1", "--apply", user=AUTHOR)
    first, second = (each["metadata"]["name"] for each in desk.all("modelevaluations"))
    command = ("evaluate", "withdraw", first, "--reason=wrong split")
    tried = desk.run(*command, "--dry-run=server")
    assert (tried.exit_code, len(desk.all("modelevaluations"))) == (0, 2), tried.output
    said = desk.run(*command)
    assert (said.exit_code, said.stdout) == (0, f"modelevaluation.gatehouse.dev/{first} deleted: it no longer counts\n")
    assert [each["metadata"]["name"] for each in desk.all("modelevaluations")] == [second]
    again = desk.run(*command)
    assert (again.exit_code, f"ModelEvaluation {desk.namespace}/{first} does not exist" in again.stderr) == (1, True)


def test_who_may_only_read_evaluations_is_told_what_it_takes(desk: Desk, results: str) -> None:
    desk.run("evaluate", "import", results, "--version=granite-1", "--task=arc", "--apply", user=AUTHOR)
    [there] = desk.all("modelevaluations")
    assert len(list(desk.grant("reads", "data-scientist", READS))) == 2
    command = ("evaluate", "withdraw", there["metadata"]["name"], "--reason=wrong split")

    def refused() -> bool:
        said = desk.run(*command, user="data-scientist")
        return said.exit_code == 2 and "may not patch or delete modelevaluations.gatehouse.dev" in said.stderr

    until(refused, what=lambda: desk.run(*command, user="data-scientist").output)
    assert desk.all("modelevaluations") == [there]


def test_what_is_printed_is_what_would_be_applied(desk: Desk, results: str) -> None:
    said = desk.run("evaluate", "import", results, "--version=granite-1", "--task=arc", user=AUTHOR)
    assert said.exit_code == 0, said.output
    (printed,) = yaml.safe_load_all(said.stdout)
    assert desk.all("modelevaluations") == []
    applied = desk.people[AUTHOR].apply(printed)
    assert applied["spec"] == printed["spec"]
    after = desk.run("evaluate", "import", results, "--version=granite-1", "--task=arc", "--apply", user=AUTHOR)
    assert after.stdout.endswith(" unchanged\n"), after.output


def test_a_file_that_is_none_ends_with_its_name(desk: Desk, tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_text('{"results": []}')
    said = desk.run("evaluate", "import", str(path), "--version=granite-1", user=AUTHOR)
    assert (said.exit_code, said.stdout) == (2, "")
    assert str(path) in said.stderr
    gone = desk.run("evaluate", "import", str(tmp_path / "none.json"), "--version=granite-1", user=AUTHOR)
    assert (gone.exit_code, "cannot be read: No such file" in gone.stderr) == (2, True)
