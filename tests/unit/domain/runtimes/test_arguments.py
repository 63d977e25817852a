"""What a version may tell vLLM: what is accepted here passes the gate, and what is refused says why and what to do."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
from cel_expr_python import cel
from cel_expr_python.ext import ext_strings
from hypothesis import given
from hypothesis import strategies as st

import worlds
from gatehouse.api.model_registry import SERVING_ARGUMENT, ServingDefaults
from gatehouse.api.model_version import Serving
from gatehouse.domain.common.finding import Finding
from gatehouse.domain.hardware.fit import SHIPPED_IMAGE
from gatehouse.domain.runtimes.arguments import (
    ELSEWHERE,
    HARMLESS_ARGUMENTS,
    RESERVED_FLAGS,
    TEMPLATE_FLAGS,
    VALUED_FLAGS,
    admitted_arguments,
    check_release,
    check_serving,
    normal_arguments,
)
from gatehouse.domain.runtimes.refusals import ArgumentNotKnown, ReservedArgument
from gatehouse.domain.runtimes.releases import release_of
from gatehouse.domain.serving.template import render
from gatehouse.domain.version.facts import Unmet
from gatehouse.domain.version.gates import GateState, template_gate
from gatehouse.domain.version.lifecycle import decide
from unit.domain.runtimes.policy_expressions import expression, strange_arguments
from unit.domain.serving.serving_inputs import serving_input

ADDED = (
    "--enable-expert-parallel",
    "--max-cudagraph-capture-size=8",
    "--trust-remote-code",
    "--trust-rem",
    "--model=x",
)


def passes_the_gate(argument: str, admitted: Sequence[str]) -> bool:
    """What ``strangeArgs`` of the policies says, in Python."""
    plain = re.fullmatch(SERVING_ARGUMENT, argument) is not None
    flag = argument.split("=", maxsplit=1)[0].replace("_", "-")
    return plain and (flag in admitted or flag + argument[len(flag) :] in admitted)


def refusal(argument: str, *, added: Sequence[str] = ()) -> ReservedArgument:
    with pytest.raises(ReservedArgument) as refused:
        check_serving(Serving.model_construct(extra_args=[argument], env=[]), added=added)
    return refused.value


POLICIES = {
    "gatehouse-inferenceservice-artifact": "",
    "gatehouse-llminferenceservice": "['--port=8000', '--model=/mnt/models']",
    "gatehouse-pod-artifact": "[port, '--model=/mnt/models']",
}
"""The policies that judge arguments, with the arguments that each takes as the runtime writes them."""


@pytest.mark.parametrize("policy", POLICIES)
def test_the_gate_holds_arguments_to_the_same_form_and_to_the_list_that_it_is_given(policy: str) -> None:
    said = " ".join(strange_arguments(policy).split())
    assert f"arg.matches('{SERVING_ARGUMENT}')" in said
    assert (
        "(arg.split('=')[0].replace('_', '-') in arguments "
        "|| arg.split('=')[0].replace('_', '-') + arg.substring(arg.split('=')[0].size()) in arguments)"
    ) in said
    # The one file that is on the list with its artifact, whole: no pattern, and nothing where there is none.
    file = "(file != '' && arg == '--model=/mnt/models/' + file)"
    assert file in said
    assert "'--" not in said.replace(POLICIES[policy] or "-", "").replace(file, "")
    listed = ("files", "params.spec.?files.orValue({})")
    if policy != "gatehouse-inferenceservice-artifact":
        listed = ("file", "params.spec.?files[?variables.uri].orValue('')")
    assert expression(policy, listed[0]) == listed[1]
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
    normal = normal_arguments(arguments)
    ours = [argument for argument in normal if argument.partition("=")[0] in TEMPLATE_FLAGS]
    try:
        made = render(replace(given_input, serving=serving))
    except ReservedArgument:
        assert ours or not all(passes_the_gate(argument, admitted) for argument in normal)
        return
    except ArgumentNotKnown:
        assert any(argument.partition("=")[0] in GONE for argument in normal)
        return
    assert not any(argument.partition("=")[0] in GONE for argument in normal)
    found = made.inference_service["spec"]["predictor"]["model"]["args"]
    assert found[-len(normal) :] == normal or not normal
    assert all(passes_the_gate(argument, admitted) for argument in found)
    assert not ours


GONE = release_of(SHIPPED_IMAGE)[0].without_arguments


@pytest.mark.parametrize("flag", sorted(GONE))
def test_an_argument_that_the_release_lost_is_refused_for_that_release_only(flag: str) -> None:
    written = [flag, "x"] if flag in VALUED_FLAGS else [flag]
    serving = Serving(extra_args=written)
    assert flag in HARMLESS_ARGUMENTS
    check_serving(serving)
    for image in ("vllm/vllm-openai:v0.11.0", "registry.example/vllm:latest"):
        check_release(serving, image)
    for image in (SHIPPED_IMAGE, "vllm:v0.33.0", "vllm:v0.90.0"):
        with pytest.raises(ArgumentNotKnown, match=flag) as refused:
            check_release(serving, image)
        assert f"remove '{' '.join(written)}' from spec.serving.extraArgs" in refused.value.finding.remedy
    check_release(Serving(extra_args=["--max_num_seqs=8", "--enable-log-requests"]), SHIPPED_IMAGE)


def test_the_gate_of_a_version_asks_for_the_release_of_its_registry() -> None:
    version = worlds.version(serving={"extraArgs": ["--disable-log-requests"]})
    shut = decide(worlds.facts(version=version)).first_shut
    assert shut is not None
    assert (shut.name, shut.finding.reason) == ("TemplateEmitted", "ArgumentNotKnown")
    assert "--enable-log-requests" in shut.finding.remedy
    old = worlds.registry(serving={"vllmImage": "vllm/vllm-openai:v0.11.0"})
    assert decide(worlds.facts(version=version, registry=old)).first_shut is None


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
        ("--trust-remote-code", "run code that was not verified", "no --trust-remote-code, and no prefix of it"),
        ("--trust", "run code that was not verified", "no --trust-remote-code"),
        ("--load-format=npcache", "read other files", "--load-format=auto or --load-format=safetensors"),
        ("--max-model-len=5", "set by Gatehouse", "no --max-model-len"),
        ("--enable-dbo", "--enable-dbo is not on the list", "spec.arguments of the VettedArtifacts"),
        ('--limit-mm-per-prompt={"image":2}', "must have the form", "paths and JSON are never allowed"),
        ("--seed=[1]", "must have the form --flag or --flag=value", "paths and JSON are never allowed"),
        ("--seed=1\n", "must have the form", "--flag or --flag=value"),
        ("-tp=2", "must have the form", "--flag or --flag=value"),
        ("", "must have the form", "--flag or --flag=value"),
    ],
)
def test_a_refused_argument_is_told_why_and_what_to_do(argument: str, found: str, wanted: str) -> None:
    problem = refusal(argument).finding
    assert repr(argument) in problem.found
    assert found in problem.found
    assert wanted in problem.expected
    assert f"remove {argument!r} from spec.serving.extraArgs" in problem.remedy
    assert ("allowedArguments of the ModelRegistry" in problem.remedy) == ("not on the list" in found)


def test_a_registry_adds_to_the_list_and_not_what_is_reserved() -> None:
    check_serving(Serving(extra_args=["--enable-expert-parallel", "--max-cudagraph-capture-size=8"]), added=ADDED)
    assert "not on the list" in refusal("--max-cudagraph-capture-size=9", added=ADDED).finding.found
    assert "not verified" in refusal("--trust-remote-code", added=ADDED).finding.found
    assert "not verified" in refusal("--trust-rem", added=ADDED).finding.found
    assert set(admitted_arguments(ADDED)) - set(admitted_arguments(())) == {
        "--enable-expert-parallel",
        "--max-cudagraph-capture-size=8",
    }


def test_the_gate_of_a_version_asks_its_registry() -> None:
    facts = worlds.facts(version=worlds.version(serving={"extraArgs": ["--enable-expert-parallel"]}))

    def gate(**changes: Any) -> GateState:
        return template_gate(replace(facts, **changes), owed=True)

    assert gate().finding.reason == "ReservedArgument"
    allowing = worlds.registry(serving={"allowedArguments": ["--enable-expert-parallel"]})
    assert gate(registry=allowing).open
    missing = Unmet(finding=Finding(reason="RegistryNotFound", found="none", expected="one", remedy="make one"))
    assert gate(registry=missing).finding.reason != "ReservedArgument"


# As vLLM writes them


def vllm_reads(arguments: Sequence[str]) -> list[str]:
    """FlexibleArgumentParser.parse_args of vLLM 0.11, as far as it is about underscores."""
    read = []
    for argument in arguments:
        if argument.startswith("--"):
            flag, equals, value = argument.partition("=")
            read.append(
                re.sub(r"(?<=--)[^\.]*", lambda found: found[0].replace("_", "-"), flag, count=1) + equals + value
            )
        else:
            read.append(argument)
    return read


def options(arguments: Sequence[str]) -> dict[str, Any] | None:
    """What a parser with vLLM's harmless options makes of arguments; None where it ends with an error."""
    parser = argparse.ArgumentParser(exit_on_error=False, allow_abbrev=True)
    for flag in sorted(VALUED_FLAGS):
        parser.add_argument(flag)
    for flag in sorted({each for each in HARMLESS_ARGUMENTS if "=" not in each} - VALUED_FLAGS):
        parser.add_argument(flag, action="store_true")
    try:
        return vars(parser.parse_args(vllm_reads(arguments)))
    except (argparse.ArgumentError, SystemExit):
        return None


WRITTEN = st.one_of(
    st.builds(lambda flag: [flag.replace("-", "_").replace("__", "--", 1)], st.sampled_from(HARMLESS_ARGUMENTS)),
    st.builds(lambda flag, value: [flag, value], st.sampled_from(sorted(VALUED_FLAGS)), st.sampled_from(["64", "a.b"])),
    st.builds(
        lambda flag, value: [f"--{flag[2:].replace('-', '_')}={value}"],
        st.sampled_from(sorted(VALUED_FLAGS)),
        st.sampled_from(["64", "with_underscore", ""]),
    ),
    st.builds(lambda flag: [flag], st.sampled_from(sorted(set(HARMLESS_ARGUMENTS) - VALUED_FLAGS))),
)


@given(written=st.lists(WRITTEN, max_size=4))
def test_the_normal_form_is_what_vllm_reads(written: list[list[str]]) -> None:
    arguments = [argument for each in written for argument in each]
    normal = normal_arguments(arguments)
    assert normal_arguments(normal) == normal
    before = options(arguments)
    if before is not None:
        assert options(normal) == before


@pytest.mark.parametrize(
    ("written", "normal"),
    [
        (["--max_num_seqs=64"], ["--max-num-seqs=64"]),
        (["--max-num-seqs", "64"], ["--max-num-seqs=64"]),
        (["--max_num_seqs 64"], ["--max-num-seqs=64"]),
        (["--enable_prefix_caching"], ["--enable-prefix-caching"]),
        (["--tool_call_parser=my_parser"], ["--tool-call-parser=my_parser"]),
        (["--load_format=safetensors"], ["--load-format=safetensors"]),
        (["--seed", "1", "--enforce-eager"], ["--seed=1", "--enforce-eager"]),
    ],
)
def test_what_vllm_reads_alike_is_taken_alike(written: list[str], normal: list[str]) -> None:
    serving = Serving(extra_args=written)
    check_serving(serving)
    given_input = serving_input(serving={"extraArgs": written})
    assert render(given_input).inference_service["spec"]["predictor"]["model"]["args"][-len(normal) :] == normal
    admitted = admitted_arguments(())
    assert all(passes_the_gate(argument, admitted) for argument in normal)
    assert all(
        passes_the_gate(argument, admitted) for argument in written if argument.startswith("--") and " " not in argument
    )


@pytest.mark.parametrize(
    ("written", "added", "found", "remedy"),
    [
        (["--enforce-eager", "true"], (), "has 'true': it must have the form", "write '--enforce-eager=true' as one"),
        (["--enable_eplb", "true"], ("--enable-eplb",), "has 'true'", "write '--enable-eplb=true' as one argument"),
        (["--some-flag 5"], ("--some-flag",), "has '--some-flag 5'", "write '--some-flag=5' as one argument"),
        (["64"], (), "has '64': it must have the form", "remove '64'"),
        (["--max_model_len=5"], (), "has '--max_model_len=5': set by Gatehouse", "set spec.serving.maxModelLen"),
        (["--max_model_len 5"], (), "has '--max_model_len 5': set by Gatehouse", "set spec.serving.maxModelLen"),
        (["--max-model-len", "5"], (), "has '--max-model-len': set by Gatehouse", "set spec.serving.maxModelLen"),
        (["--trust_remote_code"], (), "run code that was not verified", "remove '--trust_remote_code'"),
        (["--load_format=npcache"], (), "read other files", "remove '--load_format=npcache'"),
        (["--enable_dbo"], (), "--enable-dbo is not on the list", "ask for --enable-dbo"),
    ],
)
def test_what_cannot_be_taken_is_told_with_the_way_to_write_it(
    written: list[str], added: Sequence[str], found: str, remedy: str
) -> None:
    with pytest.raises(ReservedArgument) as refused:
        check_serving(Serving(extra_args=written), added=added)
    assert found in refused.value.finding.found
    assert remedy in refused.value.finding.remedy


def test_a_registry_may_write_underscores_too() -> None:
    defaults = ServingDefaults(allowed_arguments=["--enable_expert_parallel", "--max_cudagraph_capture_size=8"])
    assert {"--enable-expert-parallel", "--max-cudagraph-capture-size=8"} <= set(
        admitted_arguments(defaults.allowed_arguments)
    )
    check_serving(Serving(extra_args=["--max_cudagraph_capture_size=8"]), added=defaults.allowed_arguments)
    assert "--trust-remote-code" not in admitted_arguments(["--trust_remote_code"])


def test_the_way_out_of_each_flag_that_is_set_elsewhere_is_known() -> None:
    assert set(TEMPLATE_FLAGS) <= set(ELSEWHERE) <= set(RESERVED_FLAGS)


# The policies' own words, run by Google's CEL


@cache
def policy_says(policy: str) -> cel.Expression:
    """What a policy refuses of ``given`` arguments, with the list ``arguments`` and the artifact's ``file``."""
    environment = cel.NewEnv(
        variables=dict.fromkeys(("given", "servers", "arguments", "file", "port"), cel.Type.DYN),
        extensions=[ext_strings.ExtStrings()],
    )
    return environment.compile(strange_arguments(policy))


@pytest.mark.parametrize("policy", POLICIES)
@given(arguments=st.lists(st.one_of(ARGUMENTS, WRITTEN.map(lambda written: written[0])), max_size=4))
def test_the_policies_let_through_just_what_is_said_here(policy: str, arguments: list[str]) -> None:
    admitted = admitted_arguments(ADDED)
    known = {"arguments": dict.fromkeys(admitted, "gatehouse"), "file": "", "port": "--port=8080"}
    found = policy_says(policy).eval(data={"given": arguments, "servers": [{}], **known})
    value = found.plain_value()
    strange = [str(each) for each in (value[0] if policy == "gatehouse-pod-artifact" else value)]
    assert strange == [argument for argument in arguments if not passes_the_gate(argument, admitted)]
