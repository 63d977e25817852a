"""Expressions of the admission policies."""

from __future__ import annotations

from gatehouse.install.shipped_files import documents


def strange_arguments(policy: str) -> str:
    """The expression for the arguments that a policy refuses, over ``given``, ``arguments``, ``file`` and ``port``.

    The policy for InferenceServices judges each predictor within one expression, so the part about arguments is cut
    out of it.
    """
    if policy == "gatehouse-inferenceservice-artifact":
        judged = " ".join(expression(policy, "judged").split())
        _, begun = judged.split("'args': dyn(")
        text = begun.split("), 'env': dyn(")[0]
    else:
        text = expression(policy, "strangeArgs")
    for theirs, ours in (
        ("container.?args.orValue([])", "given"),
        ("it.args", "given"),
        ("variables.args", "given"),
        ("variables.files[?it.uri].orValue('')", "variables.file"),
        ("variables.files[it.uri]", "variables.file"),
    ):
        text = text.replace(theirs, ours)
    return text.replace("variables.", "")


def expression(policy: str, variable: str) -> str:
    """A variable of a policy that the cluster is given."""
    [body] = [
        each
        for each in documents("kustomize/base/admission")
        if each["kind"] == "ValidatingAdmissionPolicy" and each["metadata"]["name"] == policy
    ]
    [found] = [each["expression"] for each in body["spec"]["variables"] if each["name"] == variable]
    return str(found)
