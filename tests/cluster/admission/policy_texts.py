"""The texts of the admission policies."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from typing import Any

from gatehouse.install.shipped_files import documents

POLICIES: Mapping[str, Mapping[str, Any]] = {
    body["metadata"]["name"]: body
    for body in documents("kustomize/base/admission")
    if body["kind"] == "ValidatingAdmissionPolicy"
}


def words(policy: str, variable: str) -> list[str]:
    """A variable of a policy that is a list of strings."""
    [expression] = [each["expression"] for each in POLICIES[policy]["spec"]["variables"] if each["name"] == variable]
    found = ast.literal_eval(re.sub(r"\s+", " ", expression))
    assert isinstance(found, list)
    return found
