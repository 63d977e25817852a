"""Revocation of decisions and results: annotate the object with who withdraws it and why, then delete it.

Admission rejects a deletion without these annotations, and any name in them but that of the caller.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from gatehouse.actions.approvals import MANAGER
from gatehouse.actions.identity import Action, Person, may_each, whoami
from gatehouse.actions.objects import listed, read
from gatehouse.api.meta import ANNOTATION_WITHDRAWAL_REASON, ANNOTATION_WITHDRAWN_BY, GROUP, Resource
from gatehouse.api.model_approval import ModelApproval
from gatehouse.api.model_evaluation import ModelEvaluation
from gatehouse.cluster.client import ApiClient, ApiError
from gatehouse.errors import NothingToDo, Refused

__all__ = ["EvaluationWithdrawal", "Revocation", "withdraw", "withdraw_evaluation"]

VERBS: Final = ("patch", "delete")

R = TypeVar("R", bound=Resource)


@dataclass(frozen=True, slots=True, kw_only=True)
class Revocation:
    """A withdrawal of one's own decisions on a version for a stage, and its reason."""

    namespace: str
    name: str
    stage: str
    reason: str
    dry_run: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationWithdrawal:
    """A withdrawal of a ModelEvaluation, and its reason."""

    namespace: str
    name: str
    reason: str
    dry_run: bool = False


async def withdraw(api: ApiClient, wanted: Revocation) -> tuple[ModelApproval, ...]:
    """Deletes the person's own decisions, even those on earlier files.

    Raises NothingToDo when no decision exists, Refused without the rights, and ClusterError.
    """
    person, decisions = await asyncio.gather(whoami(api), listed(api, ModelApproval, wanted.namespace))
    mine = tuple(
        each
        for each in decisions
        if (each.spec.approver, each.spec.version_ref.name, each.spec.stage) == (person.name, wanted.name, wanted.stage)
    )
    if not mine:
        raise NothingToDo(
            f"no decision of {person.name} on {wanted.namespace}/{wanted.name} for stage {wanted.stage}; "
            f"kubectl get modelapprovals -n {wanted.namespace} shows those of others"
        )
    await _withdraw_objects(api, mine, person, wanted)
    return mine


async def withdraw_evaluation(api: ApiClient, wanted: EvaluationWithdrawal) -> ModelEvaluation:
    """Deletes one evaluation, even one of another evaluator.

    Raises NothingToDo when it does not exist, Refused without the rights, and ClusterError.
    """
    try:
        person, found = await asyncio.gather(whoami(api), read(api, ModelEvaluation, wanted.namespace, wanted.name))
    except ApiError as error:
        if error.status != 404:
            raise
        raise NothingToDo(
            f"there is no ModelEvaluation {wanted.namespace}/{wanted.name}; "
            f"kubectl get modelevaluations -n {wanted.namespace} shows which there are"
        ) from error
    await _withdraw_objects(api, (found,), person, wanted)
    return found


async def _withdraw_objects(
    api: ApiClient, objects: Sequence[R], person: Person, wanted: Revocation | EvaluationWithdrawal
) -> None:
    """A dry run tries only the annotations: without them on the server, admission rejects the deletion."""
    plural = objects[0].info.plural
    actions = [Action(verb=verb, resource=plural, namespace=wanted.namespace) for verb in VERBS]
    missing = [action.verb for action, allowed in (await may_each(api, actions)).items() if not allowed]
    if missing:
        raise Refused(
            f"you ({person.name}) may not {' or '.join(missing)} {plural}.{GROUP} in namespace {wanted.namespace}; "
            "ask the people who bind roles there"
        )
    marks = {ANNOTATION_WITHDRAWN_BY: person.name, ANNOTATION_WITHDRAWAL_REASON: wanted.reason}
    params = {"fieldManager": MANAGER} | ({"dryRun": "All"} if wanted.dry_run else {})
    for each in objects:
        key = (plural, wanted.namespace, each.metadata.name)
        patch = {"metadata": {"uid": each.metadata.uid, "annotations": marks}}
        marked = await api.patch(*key, patch, kind="application/merge-patch+json", params=params)
        if not wanted.dry_run:
            # The preconditions make sure that no other write came between the annotations and the deletion.
            seen = {"uid": each.metadata.uid, "resourceVersion": marked["metadata"]["resourceVersion"]}
            await api.delete(*key, preconditions=seen)
