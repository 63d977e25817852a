"""The own entry in a file that others write: whatever they wrote stays, in its meaning."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from gatehouse.domain.catalog.sources_file import LARGEST_SOURCES, MODELS_KEY, with_own_entry
from gatehouse.domain.common.format_error import FormatError

SHIPPED = """\
# The dashboard writes this file.
catalogs:
  - name: "Team models"
    id: team   # an id
    type: yaml
    enabled: no
    properties: {yamlCatalogPath: 'team.yaml', count: 007, ratio: 1e3, day: 2026-01-01}
    includedModels: ["*"]
namedQueries:
  fast: {ttft_p90: {operator: "<", value: 100}}
labels:
- {name: null, displayName: Others}
"""


def own(text: str) -> list[dict[str, Any]]:
    document = yaml.safe_load(text)
    lists = [document.get(name) or [] for name in ("model_catalogs", "catalogs")]
    return [
        entry for entries in lists for entry in entries if isinstance(entry, dict) and entry.get("id") == "gatehouse"
    ]


def without_own(text: str) -> Any:
    """The file in YAML 1.1, and its scalars in the way that they are written, without the own entry."""
    document = yaml.safe_load(text) or {}
    for name in ("model_catalogs", "catalogs"):
        if isinstance(document.get(name), list):
            document[name] = [
                entry for entry in document[name] if not (isinstance(entry, dict) and entry.get("id") == "gatehouse")
            ]
    scalars = [
        (event.value, event.implicit, event.style)
        for event in yaml.parse(text, Loader=yaml.SafeLoader)
        if isinstance(event, yaml.ScalarEvent)
    ]
    return document, scalars


def refused(text: str) -> str | None:
    """The reason why a file is left alone."""
    try:
        with_own_entry(text)
    except FormatError as error:
        return error.finding.reason
    return None


def test_the_entry_is_added_and_all_else_stays() -> None:
    changed = with_own_entry(SHIPPED)
    assert own(changed) == [
        {
            "name": "Gatehouse",
            "id": "gatehouse",
            "type": "yaml",
            "enabled": True,
            "properties": {"yamlCatalogPath": MODELS_KEY},
            "labels": ["Vetted"],
        }
    ]
    before, after = without_own(SHIPPED), without_own(changed)
    assert after[0] == before[0]
    rest = list(after[1])
    for scalar in before[1]:
        rest.remove(scalar)
    assert {value for value, _, _ in rest} <= {
        *("name", "Gatehouse", "id", "gatehouse", "type", "yaml", "enabled", "true"),
        *("properties", "yamlCatalogPath", MODELS_KEY, "labels", "Vetted"),
    }


def test_a_letter_that_libyaml_quotes_stays() -> None:
    changed = with_own_entry("catalogs:\n- id: 🦙 llamas\n")
    assert [entry["id"] for entry in yaml.safe_load(changed)["catalogs"]] == ["🦙 llamas", "gatehouse"]


def test_a_second_time_changes_nothing() -> None:
    once = with_own_entry(SHIPPED)
    assert with_own_entry(once) is once


@pytest.mark.parametrize("switch", ["enabled: true", "enabled: false", "excludedModels: ['*']", "labels: [Mine]"])
def test_what_a_person_set_on_the_own_entry_stays(switch: str) -> None:
    fixed = f"id: gatehouse, name: Ours, type: yaml, properties: {{yamlCatalogPath: {MODELS_KEY}}}"
    text = f"catalogs:\n- {{{fixed}, {switch}}}\n"
    assert with_own_entry(text) == text


@pytest.mark.parametrize("text", ["", "# only a comment\n", "---\n", "null\n", "catalogs:\n", "catalogs: []\n", "{}\n"])
def test_an_empty_file_gets_the_entry(text: str) -> None:
    changed = with_own_entry(text)
    assert len(own(changed)) == 1
    assert list(yaml.safe_load(changed)) == ["catalogs"]


@pytest.mark.parametrize("name", ["model_catalogs", "catalogs"])
@pytest.mark.parametrize("form", ["{}: [{{id: a}}]\n", "{}:\n- id: a\n", '{{"{}": [{{"id": "a"}}]}}'])
def test_the_entry_goes_into_the_list_that_is_there(name: str, form: str) -> None:
    changed = with_own_entry(form.format(name))
    assert [entry["id"] for entry in yaml.safe_load(changed)[name]] == ["a", "gatehouse"]


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("catalogs: [", "YamlInvalid"),
        ("catalogs: {a: b}", "YamlShape"),
        ("catalogs: words", "YamlShape"),
        ("- a", "YamlShape"),
        ("words", "YamlShape"),
        ("a: 1\n---\nb: 2\n", "YamlInvalid"),
        ("a: &x [1]\nb: *x\n", "YamlAlias"),
        ("a: 1\na: 2\n", "YamlInvalid"),
        ("[" * 40 + "]" * 40, "YamlTooDeep"),
        ("a: '\ud800'", "YamlInvalid"),
        ("#" * (LARGEST_SOURCES + 1), "YamlTooLarge"),
        ("catalogs:\n- {id: gatehouse, type: hf}\n", "EntryTaken"),
        ("catalogs:\n- {id: gatehouse, type: yaml, properties: {yamlCatalogPath: other.yaml}}\n", "EntryTaken"),
        ("catalogs:\n- {id: gatehouse, type: yaml, properties: words}\n", "EntryTaken"),
    ],
)
def test_what_cannot_be_changed_safely_is_left_alone(text: str, rule: str) -> None:
    with pytest.raises(FormatError) as caught:
        with_own_entry(text)
    assert caught.value.finding.reason == rule
    assert "sources.yaml" in str(caught.value)


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20)
    | st.sampled_from(
        ["no", "1e3", "007", "0o7", "1_000", "2026-01-01", "~", "null", "12:30:45", "=", "<<", "y", "- a"]
    )
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=12,
)
ENTRIES = st.lists(st.fixed_dictionaries({"id": st.text(max_size=8)}, optional={"properties": VALUES}), max_size=3)
FILES = st.fixed_dictionaries(
    {},
    optional={
        "catalogs": st.none() | ENTRIES,
        "model_catalogs": st.none() | ENTRIES,
        "mcp_catalogs": VALUES,
        "labels": VALUES,
        "namedQueries": VALUES,
    },
)


@given(
    document=FILES,
    flow=st.sampled_from([None, True, False]),
    style=st.sampled_from([None, None, '"', "'", "|"]),
    indent=st.sampled_from([2, 4]),
    unicode=st.booleans(),
)
def test_whatever_others_wrote_stays_in_its_meaning(
    document: dict[str, Any], flow: bool | None, style: str | None, indent: int, unicode: bool
) -> None:
    text = yaml.safe_dump(
        document, default_flow_style=flow, default_style=style, indent=indent, allow_unicode=unicode, sort_keys=False
    )
    if (refusal := refused(text)) is not None:
        # PyYAML writes some texts that it does not read, and aliases for equal lists.
        assert refusal in {"YamlInvalid", "YamlAlias"}
        return
    changed = with_own_entry(text)
    assert len(own(changed)) == 1
    before, after = without_own(text), without_own(changed)
    for name in ("model_catalogs", "catalogs"):
        # The list with the own entry may have been absent or empty.
        assert (after[0].pop(name, None) or []) == (before[0].pop(name, None) or [])
    assert after[0] == before[0]
    assert with_own_entry(changed) == changed


@given(st.text(max_size=60) | st.text(alphabet="ab:-[]{}#&*!|>'\"%\n \t", max_size=60))
def test_any_text_is_changed_safely_or_left_alone(text: str) -> None:
    try:
        changed = with_own_entry(text)
    except FormatError:
        return
    assert len(own(changed)) == 1
