"""The bench that holds the fit against a vLLM: what it asks, and what it makes of the answers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from bench.figures import details_table, to_json
from bench.vllm_fit import VLLM_NEEDED, Difference, bench_fit, differences, requests, result_of
from gatehouse.domain.artifact.model_config import parse_config
from gatehouse.domain.hardware.dimensions import dimensions_of
from gatehouse.printing.progress import Silent
from vllmruns import DATA, OTHER_WEIGHTS, configurations

KNOWN = [
    {**run, "name": said["name"]}
    for line in (DATA / "runs.jsonl").read_text(encoding="utf-8").splitlines()
    for said in [json.loads(line)]
    for run in said["runs"]
    if run["vllm"] == "0.33.0" and "error" not in run
]
"""What 0.33.0 answered when the project's data was made."""


def llama(**changes: Any) -> Mapping[str, Any]:
    record = next(each for each in KNOWN if each["name"] == "meta-llama__Llama-3.2-1B")
    return {**record, **changes}


def test_every_configuration_is_asked_on_as_many_accelerators_as_the_data_has() -> None:
    asked = list(requests(tuple(configurations())))
    assert {each["name"] for each in asked} == configurations().keys()
    yi = [each["tp"] for each in asked if each["name"] == "01-ai__Yi-34B"]
    assert yi == [1, 2, 4, 8]


def test_what_was_cut_from_the_configurations_says_nothing_to_the_fit() -> None:
    for asked in requests(tuple(configurations())):
        whole = parse_config(json.dumps(asked["config"]).encode())
        assert dimensions_of(whole) == configurations()[asked["name"]][1], asked["name"]


def test_the_project_s_own_data_differs_only_where_it_is_said_to() -> None:
    found = list(differences(KNOWN))
    weights = {(each.configuration, "0.33.0") for each in found if each.what == "weights"}
    assert weights == {key for key in OTHER_WEIGHTS if key[1] == "0.33.0"}
    assert {each.what for each in found} <= {"weights", "limit"}


@pytest.mark.parametrize(
    ("changes", "what", "percent"),
    [
        ({"limit": 4096}, "limit", 3100.0),
        ({"weights": 2 * 2471628800}, "weights", -50.0),
        ({"cache": {"16": 2**20 + 1}}, "cache of 16 tokens", 0.0),
        ({"error": "ValueError: no"}, "refused", None),
    ],
)
def test_a_difference_is_told_with_both_figures(changes: Mapping[str, Any], what: str, percent: float | None) -> None:
    (found,) = differences([llama(**changes)])
    assert (found.what, found.percent) == (what, percent)


def test_a_cache_that_is_too_small_by_more_than_a_block_is_wrong() -> None:
    block = 16 * 32768
    assert [count.holds for count in result_of([llama(cache={"16": 2**20 + block})]).counts] == [True, True]
    assert [count.holds for count in result_of([llama(cache={"16": 2**20 + block + 1})]).counts] == [False, True]


def test_an_environment_that_lacks_a_package_is_wrong() -> None:
    lacking = llama(error="ModuleNotFoundError: No module named 'uvloop'")
    assert [count.holds for count in result_of([lacking]).counts] == [True, False]
    assert [count.holds for count in result_of([llama(error="ValueError: no")]).counts] == [True, True]


def test_differences_are_a_table_and_json() -> None:
    result = result_of([llama(limit=4096)])
    (document,) = to_json([result])
    assert document["bench"] == "fit, vLLM 0.33.0"
    assert document["details"] == [
        Difference(configuration="meta-llama__Llama-3.2-1B", size=1, what="limit", vllm=4096, gatehouse=131_072).row()
    ]
    assert details_table(result).row_count == 1


async def test_without_an_environment_the_bench_says_how_to_make_one() -> None:
    with pytest.raises(ValueError, match="pip install vllm") as raised:
        await bench_fit(None, quick=True, progress=Silent())
    assert str(raised.value) == VLLM_NEEDED
