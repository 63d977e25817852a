"""The words that no sentence for people uses: one list, over messages, help, docstrings, manifests and pages."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
BETTER = {
    "himself": "themselves",
    "herself": "themselves",
    "his": "their",
    "nobody": "no one",
    "somebody": "another person",
    "for ever": "without limit",
    "mend": "fix",
    "mended": "fixed",
    "wanted": "expected",
    "is looked at": "is checked",
    "the like": "the names of the things",
}
REFUSED = re.compile(rf"\b({'|'.join(BETTER)})\b", re.IGNORECASE)
CODE = re.compile(r"``[^`]+``|`[^`]+`")
"""A name in a sentence is no word of the sentence."""
WIRE = re.compile(r"^ +(- )?wanted:? ?", re.MULTILINE)
"""The field of a gate that holds the expected value, in YAML."""
WIRE_NAMES = frozenset({"wanted", "Wanted"})
"""The same field in code, and a public name of that concept."""
SOURCES = ("operator",)
TEXTS = ("crds", "docs", "gitops", "images", "kustomize", "manifests")
PAGES = ("README.md", "CONTRIBUTING.md")


def checked(folders: tuple[str, ...], *suffixes: str) -> Iterator[Path]:
    for folder in folders:
        yield from (path for path in sorted((ROOT / folder).rglob("*")) if path.suffix in suffixes)


def refused(text: str) -> list[str]:
    return [match[0] for match in REFUSED.finditer(CODE.sub("", text))]


def literals(path: Path) -> Iterator[tuple[int, str]]:
    """The string literals of a module with their lines; docstrings and the texts of f-strings too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value not in WIRE_NAMES:
            yield node.lineno, node.value


@pytest.mark.parametrize(
    ("sentence", "found"),
    [
        ("decides for himself", ["himself"]),
        ("the rows are kept for ever", ["for ever"]),
        ("Mend the field; nobody else can", ["Mend", "nobody"]),
        ("the field `wanted` and ``mend``", []),
        ("this recommendation of history", []),
    ],
)
def test_whole_words_are_refused_and_names_are_not(sentence: str, found: list[str]) -> None:
    assert refused(sentence) == found


def test_messages_and_docstrings_use_plain_words() -> None:
    modules = list(checked(SOURCES, ".py"))
    assert len(modules) > 100, "the modules were found"
    faults = [
        f"{path.relative_to(ROOT)}:{line}: {word} (say: {BETTER[word.lower()]})"
        for path in modules
        for line, text in literals(path)
        for word in refused(text)
    ]
    assert faults == []


def test_manifests_and_pages_use_plain_words() -> None:
    texts = [*checked(TEXTS, ".yaml", ".md", ".lua", ".sh"), *(ROOT / page for page in PAGES)]
    assert len(texts) > 100, "the texts were found"
    faults = [
        f"{path.relative_to(ROOT)}: {word} (say: {BETTER[word.lower()]})"
        for path in texts
        for word in refused(WIRE.sub("", path.read_text()))
    ]
    assert faults == []
