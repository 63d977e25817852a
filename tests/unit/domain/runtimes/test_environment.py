"""Which variables a model server may have: what a version may set passes the gate, and nothing else does."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import worlds
from gatehouse.api.model_registry import SERVING_VARIABLE, ServingDefaults
from gatehouse.api.model_version import EnvVar, Serving
from gatehouse.domain.runtimes.arguments import check_serving
from gatehouse.domain.runtimes.environment import (
    HARMLESS_ENVIRONMENT,
    PLAIN_VALUE,
    RESERVED_ENVIRONMENT,
    RESERVED_PREFIXES,
    RESERVED_SUFFIXES,
    TEMPLATE_ENVIRONMENT,
    admitted_environment,
    reserved_variable,
)
from gatehouse.domain.runtimes.refusals import ReservedEnvironment
from gatehouse.domain.serving.template import render
from gatehouse.domain.version.gates import template_gate
from unit.domain.runtimes.policy_expressions import expression
from unit.domain.runtimes.ways_in import WAYS_IN
from unit.domain.serving.serving_inputs import serving_input

ADDED = ("TEAM_LEVEL", "TEAM_MODE=a.b", "TEAM_MODE=c+d", "HF_ENDPOINT", "OMP_NUM_THREADS", "HOME=x")


def refusal(name: str, value: str = "1", *, variables: tuple[str, ...] = ()) -> ReservedEnvironment:
    with pytest.raises(ReservedEnvironment) as refused:
        check_serving(Serving.model_validate({"env": [{"name": name, "value": value}]}), variables=variables)
    return refused.value


@pytest.mark.parametrize("name", [*WAYS_IN, *RESERVED_ENVIRONMENT, *(f"{each}X" for each in RESERVED_PREFIXES)])
def test_a_variable_that_is_not_on_the_list_is_refused(name: str) -> None:
    problem = refusal(name).finding
    assert f"serving.env has {name}: " in problem.found
    assert f"remove {name} from spec.serving.env" in problem.remedy


@given(name=st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,20}", fullmatch=True), value=st.text(st.characters(codec="utf-8")))
def test_whatever_its_name_is(name: str, value: str) -> None:
    if name not in HARMLESS_ENVIRONMENT:
        serving = Serving.model_construct(extra_args=[], env=[EnvVar.model_construct(name=name, value=value)])
        with pytest.raises(ReservedEnvironment):
            check_serving(serving)


@pytest.mark.parametrize("name", HARMLESS_ENVIRONMENT)
@settings(max_examples=5)
@given(data=st.data())
def test_a_variable_of_the_list_passes_with_its_values_and_with_no_other(name: str, data: st.DataObject) -> None:
    pattern = HARMLESS_ENVIRONMENT[name]
    good = data.draw(st.from_regex(pattern, fullmatch=True, alphabet=st.characters(codec="ascii")))
    check_serving(Serving.model_validate({"env": [{"name": name, "value": good}]}))
    for bad in (f"{good}$(HOSTNAME)", f"/{good}", f"{good}\n", f"../{good}", "http://evil", f"{good}`", "plugin.so/x"):
        problem = refusal(name, bad).finding
        assert "is not an allowed value" in problem.found
        assert pattern in problem.expected


@pytest.mark.parametrize("name", TEMPLATE_ENVIRONMENT)
def test_what_the_template_sets_is_not_the_version_s(name: str) -> None:
    assert "Gatehouse and KServe set it" in refusal(name).finding.found


def test_a_variable_is_there_once() -> None:
    twice = Serving.model_validate({"env": [{"name": "TZ", "value": "UTC"}, {"name": "TZ", "value": "Europe/Berlin"}]})
    with pytest.raises(ReservedEnvironment, match="twice"):
        check_serving(twice)


class TestWhatARegistryAdds:
    def test_passes_with_a_plain_value_or_the_one_that_it_names(self) -> None:
        for name, value in (("TEAM_LEVEL", "a.b"), ("TEAM_LEVEL", ""), ("TEAM_MODE", "a.b"), ("TEAM_MODE", "c+d")):
            check_serving(Serving.model_validate({"env": [{"name": name, "value": value}]}), variables=ADDED)
        for name, value in (("TEAM_LEVEL", "/x"), ("TEAM_MODE", "axb"), ("TEAM_MODE", "ccd"), ("TEAM_MODE", "")):
            assert "is not an allowed value" in refusal(name, value, variables=ADDED).finding.found

    @pytest.mark.parametrize("name", [*WAYS_IN, *RESERVED_ENVIRONMENT])
    def test_is_never_a_name_that_replaces_bytes_code_or_servers(self, name: str) -> None:
        if re.fullmatch(SERVING_VARIABLE, name) and name not in HARMLESS_ENVIRONMENT:
            assert admitted_environment([name]).get(name) == (
                PLAIN_VALUE if reserved_variable(name) is None else TEMPLATE_ENVIRONMENT.get(name)
            )
            if not name.startswith(("LOCPATH", "OMPI", "NO_")):
                assert reserved_variable(name) is not None

    def test_gives_no_variable_of_the_list_other_values(self) -> None:
        found = admitted_environment(ADDED)
        assert found["OMP_NUM_THREADS"] == HARMLESS_ENVIRONMENT["OMP_NUM_THREADS"]
        assert set(found) - set(admitted_environment(())) == {"TEAM_LEVEL", "TEAM_MODE"}
        assert admitted_environment(["TEAM_MODE=x", "TEAM_MODE"])["TEAM_MODE"] == "[A-Za-z0-9._,:+-]*"

    @given(suffix=st.sampled_from(sorted(RESERVED_SUFFIXES)), stem=st.from_regex(r"[A-Z]{1,8}", fullmatch=True))
    def test_is_no_name_that_ends_in_a_file_a_library_or_a_server(self, suffix: str, stem: str) -> None:
        assert reserved_variable(stem + suffix) is not None

    def test_is_asked_for_by_the_gate_of_its_versions(self) -> None:
        facts = worlds.facts(version=worlds.version(serving={"env": [{"name": "TEAM_LEVEL", "value": "1"}]}))
        assert template_gate(facts, owed=True).finding.reason == "ReservedEnvironment"
        allowing = worlds.registry(serving={"allowedEnvironment": ["TEAM_LEVEL"]})
        assert template_gate(replace(facts, registry=allowing), owed=True).open

    def test_is_in_its_templates(self) -> None:
        defaults = ServingDefaults(allowed_environment=["TEAM_LEVEL"])
        made = render(serving_input(serving={"env": [{"name": "TEAM_LEVEL", "value": "1"}]}, defaults=defaults))
        assert {"name": "TEAM_LEVEL", "value": "1"} in made.serving_runtime["spec"]["containers"][0]["env"]


def test_every_pattern_means_the_same_to_the_gate() -> None:
    """RE2 has no look-around, no back references and no possessive repetition; none has a quote that CEL would end."""
    for pattern in admitted_environment(ADDED).values():
        assert not re.search(r"\(\?|\\[1-9]|[+*?}]\+", pattern)
        assert not re.search(r"[$']", pattern)
        assert len(pattern) <= 1024


@pytest.mark.parametrize(
    ("policy", "variable"),
    [("gatehouse-pod-artifact", "strangeVariables"), ("gatehouse-serving-runtimes", "strange")],
)
def test_the_policies_hold_variables_to_the_list_that_they_are_given(policy: str, variable: str) -> None:
    said = expression(policy, variable)
    assert "!(env.name in variables.environment)" in said
    assert "!env.?value.orValue('').matches('^(?:' + variables.environment[env.name] + ')$')" in said
    assert expression(policy, "environment") == "params.spec.?environment.orValue({})"


def test_the_page_of_variables_has_each_with_its_values() -> None:
    text = Path("docs/variables.md").read_text()
    rows = [
        f"| `{name}` | `{pattern.replace('|', chr(92) + '|')}` |"
        for name, pattern in sorted(HARMLESS_ENVIRONMENT.items())
    ]
    assert text.endswith("\n".join(["|---|---|", *rows]) + "\n")
