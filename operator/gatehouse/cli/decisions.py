"""``gatehouse approve``, ``reject``, ``request-changes`` and ``withdraw``: the decisions of reviewers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from gatehouse.cli.connection import ContextOption, KubeconfigOption, cluster, default_namespace, run_command
from gatehouse.cli.options import (
    DryRunOption,
    NameArgument,
    NamespaceOption,
    ReasonOption,
    StageOption,
    WrittenOutputOption,
    print_data,
    say,
    without_managers,
)
from gatehouse.printing import stdout

if TYPE_CHECKING:
    from gatehouse.actions.approvals import Decided
    from gatehouse.api.model_approval import ApprovalDecision, ModelApproval

__all__ = ["approve", "reject", "request_changes", "withdraw"]

_KIND: Final = "modelapproval.gatehouse.dev"
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
    """Approve a version for a stage, in your own name.

    The approval is for the current files and the current risk tier; other files or a higher tier void it. You need the
    right to approve the risk tier, and another person must have submitted the version. The same decision twice changes
    nothing.

    Exit codes: 0 success, 2 error.

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
    """Reject a version for a stage.

    One rejection shuts the gate of the stage, even if other people approved.

    Exit codes: 0 success, 2 error.

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
    """Ask the author of a version for changes.

    The request shuts the gate of the stage until you withdraw it or make another decision.

    Exit codes: 0 success, 2 error.

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
    """Withdraw your own decisions on a version.

    The decisions for the stage no longer count. The audit trail keeps the decisions, who withdrew them, and why.

    Exit codes: 0 success, 1 condition not met: you made no decision, 2 error.

    Example: gatehouse withdraw granite-3.1-8b -n private-ai --stage staging --reason "I read the wrong report"
    """
    from gatehouse.actions import revocations
    from gatehouse.actions.identity import SelfAuthorizer

    async def work() -> tuple[ModelApproval, ...]:
        home = namespace or await default_namespace(kubeconfig, context)
        request = revocations.Revocation(
            namespace=home, name=name, stage=stage, reason=reason, dry_run=dry_run == "server"
        )
        async with cluster(kubeconfig, context) as client:
            return await revocations.withdraw(client, SelfAuthorizer(client), request)

    withdrawn = run_command(work)
    if output == "json":
        print_data([approval.wire() for approval in withdrawn])
        return
    for approval in withdrawn:
        decision = _WORDS[approval.spec.decision]
        stdout().line(f"{_KIND}/{approval.metadata.name} deleted{_dry(dry_run)}: no longer {decision} for {stage}")


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
    from gatehouse.actions.approvals import ReviewDecision, decide
    from gatehouse.actions.identity import SelfAuthorizer

    async def work() -> Decided:
        home = namespace or await default_namespace(kubeconfig, context)
        request = ReviewDecision(
            namespace=home, name=name, stage=stage, decision=decision, reason=reason, dry_run=dry_run == "server"
        )
        async with cluster(kubeconfig, context) as client:
            return await decide(client, SelfAuthorizer(client), request)

    done = run_command(work)
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
