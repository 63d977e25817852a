"""The table of kinds: what it declares is complete, consistent, and exactly what the operator's ClusterRole grants."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import yaml

from gatehouse.api import KINDS
from gatehouse.controllers.declaration import Right
from gatehouse.controllers.table import DECLARATIONS, WATCHES
from gatehouse.runtime.refs import ObjectKey

CLUSTER_ROLE = Path(__file__).parents[3] / "manifests/rbac/operator-clusterrole.yaml"
OPTIONAL_KINDS = {"inferenceservices", "httproutes", "routes"}
DECLARED = {declared.kind: declared for declared in DECLARATIONS}

Granted = dict[tuple[str, str, str], set[str]]
"""Verbs by group, resource and name of an object; no name for all objects."""


def union(rights: list[Right]) -> Granted:
    verbs: Granted = defaultdict(set)
    for right in rights:
        for name in right.names or ("",):
            verbs[right.group, right.resource, name].update(right.verbs)
    return dict(verbs)


def granted() -> Granted:
    """The rules of the operator's ClusterRole."""
    return union(
        [
            Right(group=group, resource=resource, verbs=rule["verbs"], names=rule.get("resourceNames", ()))
            for rule in yaml.safe_load(CLUSTER_ROLE.read_text())["rules"]
            for group in rule["apiGroups"]
            for resource in rule["resources"]
        ]
    )


def test_the_cluster_role_grants_the_declared_rights_and_no_others() -> None:
    assert granted() == union([right for declared in DECLARATIONS for right in declared.all_rights])


def test_every_kind_of_the_group_is_declared_once() -> None:
    assert len(DECLARED) == len(DECLARATIONS)
    assert {kind.info.plural for kind in KINDS} == DECLARED.keys() - {"namespaces", *OPTIONAL_KINDS}


def test_what_triggers_a_reconcile_is_watched_and_what_is_triggered_is_reconciled() -> None:
    for declared in DECLARATIONS:
        assert {*declared.woken_by, *(trigger.kind for trigger in declared.triggers)} <= DECLARED.keys()
        assert not declared.triggers or declared.build is not None
        assert not declared.woken_by or declared.together is not None


def test_each_trigger_is_a_fan_out_of_the_watch_of_its_kind() -> None:
    fan_outs = {watch.kind: {(made.relevant, made.dependents) for made in watch.fan_outs} for watch in WATCHES}
    triggers: defaultdict[str, set[object]] = defaultdict(set)
    for declared in DECLARATIONS:
        for trigger in declared.triggers:
            triggers[trigger.kind].add((trigger.relevant, trigger.dependents))
    assert {kind: made for kind, made in fan_outs.items() if made} == triggers


def test_the_lists_for_admission_are_derived_again_after_a_change_of_what_they_come_from() -> None:
    lists = ObjectKey("vettedartifacts", "", "*")
    waking = {watch.kind for watch in WATCHES if lists in watch.wakes}
    assert waking == {"modelversions", "modelregistries", "governancepolicies", "hardwareprofiles"}
