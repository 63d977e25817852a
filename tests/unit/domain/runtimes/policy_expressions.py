"""Expressions of the admission policies."""

from __future__ import annotations

from gatehouse.install.shipped_files import documents


def expression(policy: str, variable: str) -> str:
    """A variable of a policy that the cluster is given."""
    [body] = [
        each
        for each in documents("kustomize/base/admission")
        if each["kind"] == "ValidatingAdmissionPolicy" and each["metadata"]["name"] == policy
    ]
    [found] = [each["expression"] for each in body["spec"]["variables"] if each["name"] == variable]
    return str(found)
