"""``gatehouse approve``, ``reject``, ``request-changes`` and ``withdraw``: what reviewers do."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal

from gatehouse.actions.approvals import Decided, Decision, decide
from gatehouse.actions.revocations import Withdrawal
from gatehouse.actions.revocations import withdraw as take_back
from gatehouse.api.meta import GROUP
from gatehouse.api.model_approval import ApprovalDecision, ModelApproval
from gatehouse.cli.connection import ContextOption, KubeconfigOption, cluster, default_namespace
from gatehouse.cli.options import (
    DryRunOption,
    NameArgument,
    NamespaceOption,
    ReasonOption,
    StageOption,
    WrittenOutputOption,
    print_data,
    reviewing,
    say,
    without_managers,
)
from gatehouse.printing import stdout

__all__ = ["approve", "reject", "request_changes", "withdraw"]

_KIND: Final = f"modelapproval.{GROUP}"
_WORDS: Final[dict[ApprovalDecision, str]] = {
    "Approved": "approved",
    "Rejected": "rejected",
    "ChangesRequested": "changes requested",
}


def approve(
    name: NameArgument,
    stage: StageOption,
    reason: ReasonOption,
    namespace: NamespaceOption = None,
    dry_run: DryRunOption = "none",
    output: WrittenOutputOption = "text",
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = None,
) -> None:
    """Approve a version for a stage, in your name: for the bytes and the risk tier that it has now.

    It takes the right to approve its risk tier, and that somebody else submitted it. Other bytes, or a raised tier,
    void the approval. Saying the same again changes nothing.

    Exit codes: 0 done, 2 refused, or an error.

    Example: gatehouse approve granite-3.1-8b -n private-ai --stage staging --reason "evaluated on our own questions"
    """
    _decide("Approved", name, stage, reason, namespace, dry_run, output, kubeconfig, context)


def reject(
    name: NameArgument,
    stage: StageOption,
    reason: ReasonOption,
    namespace: NamespaceOption = None,
    dry_run: DryRunOption = "none",
    output: WrittenOutputOption = "text",
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = None,
) -> None:
    """Reject a version for a stage. One rejection shuts the stage, even if others approved.

    Exit codes: 0 done, 2 refused, or an error.

    Example: gatehouse reject granite-3.1-8b -n private-ai --stage production --reason "trained on data we may not use"
    """
    _decide("Rejected", name, stage, reason, namespace, dry_run, output, kubeconfig, context)


def request_changes(
    name: NameArgument,
    stage: StageOption,
    reason: ReasonOption,
    namespace: NamespaceOption = None,
    dry_run: DryRunOption = "none",
    output: WrittenOutputOption = "text",
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = None,
) -> None:
    """Ask the author for changes before a version can be approved for a stage.

    Exit codes: 0 done, 2 refused, or an error.

    Example: gatehouse request-changes granite-3.1-8b -n private-ai --stage staging --reason "name the training data"
    """
    _decide("ChangesRequested", name, stage, reason, namespace, dry_run, output, kubeconfig, context)


def withdraw(
    name: NameArgument,
    stage: StageOption,
    reason: ReasonOption,
    namespace: NamespaceOption = None,
    dry_run: DryRunOption = "none",
    output: WrittenOutputOption = "text",
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = None,
) -> None:
    """Take your own decisions on a version for a stage back. What they said, that you did, and why stay on record.

    Exit codes: 0 done, 1 you decided nothing, 2 refused, or an error.

    Example: gatehouse withdraw granite-3.1-8b -n private-ai --stage staging --reason "I read the wrong report"
    """

    async def work() -> tuple[ModelApproval, ...]:
        where = namespace or await default_namespace(kubeconfig, context)
        wanted = Withdrawal(namespace=where, name=name, stage=stage, reason=reason, dry_run=dry_run == "server")
        async with cluster(kubeconfig, context) as client:
            return await take_back(client, wanted)

    gone = reviewing(work)
    if output == "json":
        print_data([each.wire() for each in gone])
        return
    for each in gone:
        decision = _WORDS[each.spec.decision]
        stdout().line(f"{_KIND}/{each.metadata.name} deleted{_dry(dry_run)}: {decision} for {stage} no more")


def _decide(
    decision: ApprovalDecision,
    name: str,
    stage: str,
    reason: str,
    namespace: str | None,
    dry_run: Literal["none", "server"],
    output: Literal["text", "json"],
    kubeconfig: Path | None,
    context: str | None,
) -> None:
    async def work() -> Decided:
        where = namespace or await default_namespace(kubeconfig, context)
        wanted = Decision(
            namespace=where, name=name, stage=stage, decision=decision, reason=reason, dry_run=dry_run == "server"
        )
        async with cluster(kubeconfig, context) as client:
            return await decide(client, wanted)

    done = reviewing(work)
    say(done.notes)
    if output == "json":
        print_data(without_managers(done.body))
        return
    spec = done.body["spec"]
    stdout().line(
        f"{_KIND}/{done.body['metadata']['name']} {done.outcome}{_dry(dry_run)}: {name} {_WORDS[decision]} for {stage} "
        f"by {spec['approver']}, {spec['riskTier']} risk, {spec['digest'][:19]}…"
    )


def _dry(dry_run: Literal["none", "server"]) -> str:
    return " (server dry run)" if dry_run == "server" else ""
