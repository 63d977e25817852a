"""What many reconciles share is made once."""

from __future__ import annotations

from typing import Any

from gatehouse.api import GovernancePolicy
from gatehouse.controllers.objects import Objects

RULE = {"name": "tiny", "expression": "version.name != ''", "message": "no"}


def policy(revision: str, **rule: str) -> GovernancePolicy:
    metadata = {"name": "strict", "resourceVersion": revision}
    return GovernancePolicy.model_validate({"metadata": metadata, "spec": {"expressions": [{**RULE, **rule}]}})


def test_a_policy_is_compiled_once_a_spec_and_not_for_each_status_of_it() -> None:
    cache: Any = None
    objects = Objects(cache)
    first = objects.compiled(policy("1"))
    second = objects.compiled(policy("2"))

    assert second.expressions is first.expressions
    assert second.policy.metadata.resource_version == "2"
    assert objects.compiled(policy("3", expression="version.name == ''")).expressions is not first.expressions
