"""Revocation of decisions and results: annotate the object with who withdraws it and why, then delete it.

Admission rejects a deletion without these annotations, and any name in them but that of the caller.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from gatehouse.actions.approvals import MANAGER
from gatehouse.actions.identity import Action, Authorizer, Person
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


async def withdraw(api: ApiClient, authorizer: Authorizer, request: Revocation) -> tuple[ModelApproval, ...]:
    """Deletes the person's own decisions, even those on earlier files.

    Raises NothingToDo when no decision exists, Refused without the rights, and ClusterError.
    """
    person, decisions = await asyncio.gather(authorizer.whoami(), listed(api, ModelApproval, request.namespace))
    mine = tuple(decision for decision in decisions if _about(decision) == (person.name, request.name, request.stage))
    if not mine:
        raise NothingToDo(
            f"no decision of {person.name} on {request.namespace}/{request.name} for stage {request.stage}; "
            f"kubectl get modelapprovals -n {request.namespace} lists the decisions of others"
        )
    await _withdraw_objects(api, authorizer, mine, person=person, request=request)
    return mine


def _about(decision: ModelApproval) -> tuple[str, str, str]:
    spec = decision.spec
    return spec.approver, spec.version_ref.name, spec.stage


async def withdraw_evaluation(api: ApiClient, authorizer: Authorizer, request: EvaluationWithdrawal) -> ModelEvaluation:
    """Deletes one evaluation, even one of another evaluator.

    Raises NothingToDo when it does not exist, Refused without the rights, and ClusterError.
    """
    try:
        person, evaluation = await asyncio.gather(
            authorizer.whoami(), read(api, ModelEvaluation, request.namespace, request.name)
        )
    except ApiError as error:
        if error.status != 404:
            raise
        raise NothingToDo(
            f"ModelEvaluation {request.namespace}/{request.name} does not exist; "
            f"kubectl get modelevaluations -n {request.namespace} lists the evaluations"
        ) from error
    await _withdraw_objects(api, authorizer, (evaluation,), person=person, request=request)
    return evaluation


async def _withdraw_objects(
    api: ApiClient,
    authorizer: Authorizer,
    objects: Sequence[R],
    *,
    person: Person,
    request: Revocation | EvaluationWithdrawal,
) -> None:
    """A dry run tries only the annotations: without them on the server, admission rejects the deletion."""
    plural = objects[0].info.plural
    actions = [Action(verb=verb, resource=plural, namespace=request.namespace) for verb in VERBS]
    missing = [action.verb for action, allowed in (await authorizer.allowed(actions)).items() if not allowed]
    if missing:
        raise Refused(
            f"you ({person.name}) may not {' or '.join(missing)} {plural}.{GROUP} in namespace {request.namespace}; "
            "ask the people who bind roles there"
        )
    marks = {ANNOTATION_WITHDRAWN_BY: person.name, ANNOTATION_WITHDRAWAL_REASON: request.reason}
    params = {"fieldManager": MANAGER} | ({"dryRun": "All"} if request.dry_run else {})
    for withdrawn in objects:
        key = (plural, request.namespace, withdrawn.metadata.name)
        patch = {"metadata": {"uid": withdrawn.metadata.uid, "annotations": marks}}
        marked = await api.patch(*key, patch, kind="application/merge-patch+json", params=params)
        if not request.dry_run:
            # The preconditions make sure that no other write came between the annotations and the deletion.
            seen = {"uid": withdrawn.metadata.uid, "resourceVersion": marked["metadata"]["resourceVersion"]}
            await api.delete(*key, preconditions=seen)
