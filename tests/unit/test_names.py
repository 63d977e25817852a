"""One name stands for one class, and a module named ``test_`` is for tests alone."""

from __future__ import annotations

import ast
from collections import defaultdict
from pathlib import Path

SOURCE = Path(__file__).parents[2] / "operator"
TESTS = Path(__file__).parents[1]


def test_no_public_class_name_is_defined_twice() -> None:
    places: defaultdict[str, list[str]] = defaultdict(list)
    for module in sorted(SOURCE.rglob("*.py")):
        for node in ast.parse(module.read_text()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].append(str(module.relative_to(SOURCE)))
    assert len(places) > 500, "the classes were found"
    assert {name: modules for name, modules in places.items() if len(modules) > 1} == {}


def test_no_module_imports_from_a_module_of_tests() -> None:
    """Helpers have modules of their own: a module of tests changes with its tests."""
    lenders = {file.stem for file in TESTS.rglob("test_*.py")}
    borrowers = [
        f"{module.relative_to(TESTS)} imports {node.module}"
        for module in sorted(TESTS.rglob("*.py"))
        for node in ast.walk(ast.parse(module.read_text()))
        if isinstance(node, ast.ImportFrom) and (node.module or "").rpartition(".")[2] in lenders
    ]
    assert borrowers == []
