"""The table of formats: a format is one module and one line, and no other place knows a format by its name."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import get_args

import pytest

import gatehouse
from gatehouse.api.governance_policy import ArtifactRequirements
from gatehouse.api.model_version import Artifact
from gatehouse.domain.artifact.layout import CONFIG, Layout, Parts
from gatehouse.domain.artifact.values import StoredObject
from gatehouse.domain.formats import names
from gatehouse.domain.formats.format import Format, Inspection, WeightFacts
from gatehouse.domain.formats.names import DEFAULT_FORMAT, ArtifactFormat
from gatehouse.domain.formats.table import CHECKED_FORMATS, FORMATS, PARSERS, endings

SOURCE = Path(gatehouse.__file__).parent
FORMATS_FOLDER = SOURCE / "domain" / "formats"

KNOWN_ELSEWHERE: Mapping[str, str] = {
    "domain/artifact/foreign.py": "advises what to convert files of other loaders to",
    "domain/runtimes/arguments.py": "has an argument of vLLM that selects a loader",
}
"""Modules that name a format in a text that is no decision."""


def stored(path: str) -> StoredObject:
    return StoredObject(path=path, size=10, etag='"e"')


def test_every_format_is_the_one_of_the_module_of_its_name() -> None:
    assert tuple(FORMATS) == get_args(ArtifactFormat)
    for name, known in FORMATS.items():
        assert known.name == name
        assert import_module(f"gatehouse.domain.formats.{name}").FORMAT is known
        assert known.title
    assert DEFAULT_FORMAT in CHECKED_FORMATS


def test_the_list_of_names_costs_the_help_of_the_commands_nothing() -> None:
    tree = ast.parse(Path(names.__file__).read_text())
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert imported == {"__future__", "typing"}
    assert not any(isinstance(node, ast.Import) for node in ast.walk(tree))


def test_the_kinds_enumerate_the_formats_of_the_table() -> None:
    assert get_args(Artifact.model_fields["format"].annotation) == tuple(FORMATS)
    [of_a_policy] = get_args(ArtifactRequirements.model_fields["formats"].annotation)
    assert get_args(of_a_policy) == tuple(FORMATS)


def test_endings_and_parsers_belong_to_one_format() -> None:
    assert len({known.ending for known in CHECKED_FORMATS.values()}) == len(CHECKED_FORMATS)
    named = [parser.name for known in FORMATS.values() for parser in known.parsers]
    assert len(named) == len(set(named))
    assert all(PARSERS[parser.name] is parser for known in FORMATS.values() for parser in known.parsers)


def test_messages_name_the_files_of_every_checked_format() -> None:
    named = endings().replace(" or ", ", ").split(", ")
    assert named == [f"*{known.ending}" for known in CHECKED_FORMATS.values()]


@pytest.mark.parametrize("known", FORMATS.values(), ids=FORMATS.keys())
def test_an_unchecked_format_has_no_parser_and_no_fit(known: Format) -> None:
    if known.name in CHECKED_FORMATS:
        assert known.parsers
        assert known.expects
    else:
        assert (known.parsers, known.fit, known.holds_weights("model")) == ((), None, False)


@pytest.mark.parametrize("known", CHECKED_FORMATS.values(), ids=CHECKED_FORMATS.keys())
def test_files_of_a_format_are_its_weights_and_their_absence_is_said(known: Format) -> None:
    named = f"model{known.ending}"
    assert known.holds_weights(named)
    parts = known.parts([stored(named), *map(stored, known.needs)])
    assert ([file.path for file in parts.weights], parts.missing, parts.problems) == ([named], None, ())
    assert known.parts([stored("README.md")]).missing == known.expects
    left = known.parts([stored(f"__MACOSX/._model{known.ending}"), *map(stored, known.needs)])
    assert (left.weights, left.missing) == ((), known.expects)


@pytest.mark.parametrize("known", FORMATS.values(), ids=FORMATS.keys())
@pytest.mark.parametrize("files", [0, 1, 2])
def test_an_inspection_asks_for_parsers_of_its_format_and_ends_where_all_files_are_refused(
    known: Format, files: int
) -> None:
    weights = tuple(stored(f"model-{number}{known.ending}") for number in range(files))
    facts = inspected(known.inspect(Layout(files=weights, weights=weights), None, key="00" * 16), known)
    assert facts == WeightFacts()


def inspected(inspection: Inspection, known: Format) -> WeightFacts:
    try:
        step = next(inspection)
        while True:
            assert step.parser in known.parsers
            step = inspection.send({})
    except StopIteration as finished:
        return finished.value  # type: ignore[no-any-return]


def test_a_format_that_needs_config_json_says_so_where_it_is_missing() -> None:
    needing = [known for known in CHECKED_FORMATS.values() if CONFIG in known.needs]
    assert needing
    for known in needing:
        parts: Parts = known.parts([stored(f"model{known.ending}")])
        assert [problem.reason for problem in parts.problems] == ["ConfigMissing"]


def test_no_other_place_knows_a_format_by_its_name() -> None:
    """A format that is added by one module and one line would be forgotten there."""
    places: dict[str, list[str]] = {}
    for module in sorted(SOURCE.rglob("*.py")):
        if module.parent == FORMATS_FOLDER and module.stem.startswith((*CHECKED_FORMATS, "names")):
            continue
        named = [text for text in written(ast.parse(module.read_text())) if _NAMED.search(text.replace("_", "-"))]
        if named:
            places[str(module.relative_to(SOURCE))] = named
    assert places.keys() == KNOWN_ELSEWHERE.keys(), places


_NAMED = re.compile(rf"(?<![a-z])({'|'.join(CHECKED_FORMATS)})(?![a-z])", re.IGNORECASE)


def written(tree: ast.Module) -> Iterator[str]:
    """Names and texts of a module, but not its docstrings."""
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        match node:
            case ast.Constant(value=str(text)) if id(node) not in docstrings:
                yield text
            case ast.Name(id=text) | ast.Attribute(attr=text) | ast.alias(name=text) | ast.arg(arg=text):
                yield text
            case ast.FunctionDef(name=text) | ast.AsyncFunctionDef(name=text) | ast.ClassDef(name=text):
                yield text
            case ast.ImportFrom(module=str(text)):
                yield text
