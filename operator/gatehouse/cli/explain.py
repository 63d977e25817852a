"""``gatehouse explain``: every gate of a version, what to do next, and what the reader may do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from gatehouse.cli.connection import ContextOption, KubeconfigOption, cluster, default_namespace, run_command
from gatehouse.cli.exits import NOT_MET
from gatehouse.cli.explanation_output import print_explanation
from gatehouse.cli.options import NameArgument, NamespaceOption, WrittenOutputOption, print_data
from gatehouse.printing import stdout

if TYPE_CHECKING:
    from gatehouse.actions.explanation import Explanation

__all__ = ["explain"]


def explain(
    name: NameArgument,
    namespace: NamespaceOption = None,
    output: WrittenOutputOption = "text",
    every: Annotated[bool, typer.Option("--all", help="Show every gate in full, by stage.")] = False,
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = None,
) -> None:
    """Show why a version is or is not ready, and what to do.

    For each shut gate, the command prints the rule, what was found, what opens the gate, and what you can do with your
    own rights. Open gates, and gates that wait for another gate, share one line. With --all, every gate is printed in
    full: first the gates of the version, then the gates of each stage.

    Exit codes: 0 success: the version is Ready to Deploy, 1 condition not met: the version is not Ready to Deploy,
    2 error.

    Examples:

      gatehouse explain granite-3.1-8b -n private-ai

      gatehouse explain granite-3.1-8b -n private-ai --all
    """
    from gatehouse.actions.explanation import read_explanation
    from gatehouse.actions.identity import SelfAuthorizer

    async def work() -> Explanation:
        home = namespace or await default_namespace(kubeconfig, context)
        async with cluster(kubeconfig, context) as client:
            return await read_explanation(client, SelfAuthorizer(client), namespace=home, name=name)

    answer = run_command(work)
    if output == "json":
        print_data(answer.wire())
    else:
        print_explanation(stdout(), answer, every=every)
    if not answer.ready:
        raise typer.Exit(NOT_MET)
