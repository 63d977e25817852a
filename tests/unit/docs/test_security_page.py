"""docs/security.md names a test for each promise, and each of those tests is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[3] / "docs"
PAGE = (DOCS / "security.md").read_text()
PROMISE = re.compile(r"^\| (?P<promise>.+?) \| (?P<tests>\[?test.*|\[.*) \|$", re.MULTILINE)
TEST = re.compile(r"\[(test_\w+)\]\((\.\./tests/[\w/]+\.py)\)")
PROMISES = [(row["promise"], row["tests"]) for row in PROMISE.finditer(PAGE) if row["promise"] != "promise"]


@pytest.mark.parametrize(("promise", "tests"), PROMISES, ids=[promise for promise, _ in PROMISES])
def test_each_promise_names_tests_that_are_there(promise: str, tests: str) -> None:
    named = TEST.findall(tests)
    assert named, f"no test stands behind: {promise}"
    for name, path in named:
        source = (DOCS / path).resolve().read_text()
        assert re.search(rf"^\s*(async )?def {name}\(", source, re.MULTILINE), f"{path} has no {name}"


def test_every_row_under_a_heading_of_promises_is_looked_at() -> None:
    sections = re.split(r"^## ", PAGE, flags=re.MULTILINE)
    against = [section for section in sections if section.startswith("Against ")]
    rows = [line for section in against for line in section.splitlines() if line.startswith("| ")]
    heads = [line for line in rows if line == "| promise | test |"]
    assert len(rows) - len(heads) == len(PROMISES) > 0
