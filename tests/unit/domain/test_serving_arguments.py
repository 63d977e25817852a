"""What a version may tell vLLM: what is accepted here passes the gate, and what is refused says why and what to do."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import worlds
from gatehouse.api.model_registry import SERVING_ARGUMENT, ServingDefaults
from gatehouse.api.model_version import Serving
from gatehouse.domain.facts import Unmet
from gatehouse.domain.gates import GateState, template_gate
from gatehouse.domain.serving import render
from gatehouse.domain.serving_arguments import admitted_arguments, check_serving
from gatehouse.domain.serving_refusals import ReservedArgument
from gatehouse.domain.serving_rules import HARMLESS_ARGUMENTS, RESERVED_FLAGS, TEMPLATE_FLAGS
from gatehouse.local.shipped import documents
from unit.domain.test_serving import serving_input

ADDED = (
    "--enable-expert-parallel",
    "--max-cudagraph-capture-size=8",
    "--trust-remote-code",
    "--trust-rem",
    "--model=x",
)


def expression(policy: str, variable: str) -> str:
    """A variable of a policy that the cluster is given."""
    [body] = [
        each
        for each in documents("kustomize/base/admission")
        if each["kind"] == "ValidatingAdmissionPolicy" and each["metadata"]["name"] == policy
    ]
    [found] = [each["expression"] for each in body["spec"]["variables"] if each["name"] == variable]
    return str(found)


def passes_the_gate(argument: str, admitted: Sequence[str]) -> bool:
    """What ``strangeArgs`` of the policies says, in Python."""
    plain = re.fullmatch(SERVING_ARGUMENT, argument) is not None
    return plain and (argument.partition("=")[0] in admitted or argument in admitted)


def refusal(argument: str, *, added: Sequence[str] = ()) -> ReservedArgument:
    with pytest.raises(ReservedArgument) as refused:
        check_serving(Serving.model_construct(extra_args=[argument], env=[]), added=added)
    return refused.value


@pytest.mark.parametrize("policy", ["gatehouse-inferenceservice-artifact", "gatehouse-pod-artifact"])
def test_the_gate_holds_arguments_to_the_same_form_and_to_the_list_that_it_is_given(policy: str) -> None:
    said = expression(policy, "strangeArgs")
    assert f"arg.matches('{SERVING_ARGUMENT}')" in said
    assert "(arg.split('=')[0] in variables.arguments || arg in variables.arguments)" in said
    # The one file that is on the list with its artifact, whole: no pattern, and nothing where there is none.
    file = "(variables.file != '' && arg == '--model=/mnt/models/' + variables.file)"
    assert file in said
    assert "'--" not in said.replace("'--port=8080', '--model=/mnt/models'", "").replace(file, "")
    assert expression(policy, "file") == "params.spec.?files[?variables.uri].orValue('')"
    assert expression(policy, "arguments") == "params.spec.?arguments.orValue({})"


TEXT = st.text(st.sampled_from("abkmxz019-_=.,:+/{}[]\" '\n\u00e9"), max_size=12)
FLAGS = st.sampled_from([*HARMLESS_ARGUMENTS, *RESERVED_FLAGS, *ADDED, "--", "-tp", "--unknown"])
ARGUMENTS = st.one_of(
    FLAGS, st.builds("{}={}".format, FLAGS, TEXT), st.builds(str.__add__, FLAGS, TEXT), st.from_regex(SERVING_ARGUMENT)
)


@given(arguments=st.lists(ARGUMENTS, max_size=5), added=st.lists(st.sampled_from(ADDED), unique=True))
def test_a_template_is_made_of_just_those_arguments_that_the_gate_lets_through(
    arguments: list[str], added: list[str]
) -> None:
    serving = Serving.model_construct(max_model_len=None, extra_args=arguments, env=[])
    given_input = serving_input(serving=None, defaults=ServingDefaults(allowed_arguments=added))
    admitted = admitted_arguments(added)
    ours = [argument for argument in arguments if argument.partition("=")[0] in TEMPLATE_FLAGS]
    try:
        made = render(replace(given_input, serving=serving))
    except ReservedArgument:
        assert ours or not all(passes_the_gate(argument, admitted) for argument in arguments)
        return
    found = made.inference_service["spec"]["predictor"]["model"]["args"]
    assert found[-len(arguments) :] == arguments or not arguments
    assert all(passes_the_gate(argument, admitted) for argument in found)
    assert not ours


@pytest.mark.parametrize("argument", HARMLESS_ARGUMENTS)
def test_what_is_on_the_list_is_written_as_arguments_are_and_is_no_beginning_of_a_reserved_flag(argument: str) -> None:
    assert re.fullmatch(SERVING_ARGUMENT, argument)
    check_serving(Serving(extra_args=[argument if "=" in argument else f"{argument}=x"]))
    flag = argument.partition("=")[0]
    begun = [reserved for reserved in RESERVED_FLAGS if reserved.startswith(flag) and reserved != flag]
    # vLLM has both: each means itself.
    assert begun == (["--reasoning-parser-plugin"] if flag == "--reasoning-parser" else [])
    assert (flag in RESERVED_FLAGS) == ("=" in argument)


@pytest.mark.parametrize(
    ("argument", "found", "wanted"),
    [
        ("--trust-remote-code", "run code that was not verified", "no --trust-remote-code and no beginning of it"),
        ("--trust", "run code that was not verified", "no --trust-remote-code"),
        ("--load-format=npcache", "read other files", "--load-format=auto or --load-format=safetensors"),
        ("--max-model-len=5", "set by Gatehouse", "no --max-model-len"),
        ("--enable-dbo", "--enable-dbo is not on the list", "spec.arguments of the VettedArtifacts"),
        ('--limit-mm-per-prompt={"image":2}', "not of the form", "paths and JSON pass nowhere"),
        ("--seed=[1]", "not of the form --flag or --flag=value", "paths and JSON pass nowhere"),
        ("--seed=1\n", "not of the form", "--flag or --flag=value"),
        ("-tp=2", "not of the form", "--flag or --flag=value"),
        ("", "not of the form", "--flag or --flag=value"),
    ],
)
def test_a_refused_argument_is_told_why_and_what_to_do(argument: str, found: str, wanted: str) -> None:
    problem = refusal(argument).problem
    assert repr(argument) in problem.found
    assert found in problem.found
    assert wanted in problem.wanted
    assert f"remove {argument!r} from spec.serving.extraArgs" in problem.remedy
    assert ("allowedArguments of the ModelRegistry" in problem.remedy) == ("not on the list" in found)


def test_a_registry_adds_to_the_list_and_not_what_is_reserved() -> None:
    check_serving(Serving(extra_args=["--enable-expert-parallel", "--max-cudagraph-capture-size=8"]), added=ADDED)
    assert "not on the list" in refusal("--max-cudagraph-capture-size=9", added=ADDED).problem.found
    assert "not verified" in refusal("--trust-remote-code", added=ADDED).problem.found
    assert "not verified" in refusal("--trust-rem", added=ADDED).problem.found
    assert set(admitted_arguments(ADDED)) - set(admitted_arguments(())) == {
        "--enable-expert-parallel",
        "--max-cudagraph-capture-size=8",
    }


def test_the_gate_of_a_version_asks_its_registry() -> None:
    facts = worlds.facts(version=worlds.version(serving={"extraArgs": ["--enable-expert-parallel"]}))

    def gate(**changes: Any) -> GateState:
        return template_gate(replace(facts, **changes), owed=True)

    assert gate().reason == "ReservedArgument"
    allowing = worlds.registry(serving={"allowedArguments": ["--enable-expert-parallel"]})
    assert gate(registry=allowing).open
    missing = Unmet(reason="RegistryNotFound", found="none", wanted="one", remedy="make one")
    assert gate(registry=missing).reason != "ReservedArgument"
