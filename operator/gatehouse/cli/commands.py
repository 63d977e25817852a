"""The table of commands: group, name, module and one line of help. Help and completion import nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

__all__ = ["COMMANDS", "CommandEntry"]


class CommandEntry(NamedTuple):
    """``gatehouse NAME``: the function NAME, or the commands ``app``, of the module ``gatehouse.cli.MODULE``.

    The modules of ``local`` and ``demo`` are in ``gatehouse_local.cli``, which not every installation has.
    """

    name: str
    module: str
    summary: str
    """One line of at most 58 characters, so that the help fits on 80 columns."""


COMMANDS: Final[Mapping[str, Sequence[CommandEntry]]] = {
    "Discover": (
        CommandEntry("explain", "explain", "Show why a version is or is not ready, and what to do."),
        CommandEntry("diff", "diff", "Show the differences between two versions."),
        CommandEntry("fit", "fit", "Show on which hardware a model fits."),
        CommandEntry("deployments", "deployments", "List what is deployed."),
        CommandEntry("template", "template", "Print the serving template of a version."),
    ),
    "Review": (
        CommandEntry("queue", "queue", "List the versions that wait for a review."),
        CommandEntry("approve", "decisions", "Approve a version for a stage, in your own name."),
        CommandEntry("reject", "decisions", "Reject a version for a stage."),
        CommandEntry("request-changes", "decisions", "Ask the author of a version for changes."),
        CommandEntry("withdraw", "decisions", "Withdraw your own decisions on a version."),
        CommandEntry("evaluate", "evaluate", "Import or withdraw the results of evaluations."),
        CommandEntry("policy", "policy", "Test drafts of governance policies."),
        CommandEntry("audit", "audit", "Read and verify the audit trail of a registry."),
        CommandEntry("evidence", "evidence", "Export or verify the evidence about a version."),
    ),
    "Publish": (
        CommandEntry("upload", "upload", "Check the folder of a model and send it to a store."),
        CommandEntry("register", "register", "Register a version of a model."),
        CommandEntry("submit", "lifecycle", "Submit a version for review."),
        CommandEntry("promote", "promote", "Promote a version to a stage."),
        CommandEntry("deploy-version", "deployments", "Deploy a version to a stage."),
        CommandEntry("rollback", "deployments", "Roll a deployment back to an earlier revision."),
        CommandEntry("resume", "deployments", "Let a rollout go on that waits at a step."),
        CommandEntry("deprecate", "lifecycle", "Advise against new deployments of a version."),
        CommandEntry("archive", "lifecycle", "Take a version out of the catalog."),
        CommandEntry("restore", "lifecycle", "Restore an archived or deprecated version."),
    ),
    "Operate": (
        CommandEntry("deploy", "deploy", "Install or upgrade Gatehouse on a cluster."),
        CommandEntry("undeploy", "undeploy", "Remove Gatehouse from a cluster and keep its data."),
        CommandEntry("kind", "kind", "Install Gatehouse on a kind cluster."),
        CommandEntry("run", "run", "Run the operator until it is told to stop."),
        CommandEntry("server", "server", "Run the REST server until it is told to stop."),
        CommandEntry("settings", "settings", "Print the settings of the operator and their sources."),
        CommandEntry("seed", "seed", "Register the shipped profiles and the first model."),
        CommandEntry("credentials", "credentials", "Create the Secrets of an installation."),
        CommandEntry("connection", "storage_connection", "Create the connection that KServe loads artifacts with."),
        CommandEntry("store-users", "store_users", "Create the users of a MinIO."),
    ),
    "Develop": (
        CommandEntry("local", "local", "Run a whole cluster on this machine."),
        CommandEntry("demo", "demo", "Walk through the main job on a local cluster."),
        CommandEntry("crds", "crds", "Print the CustomResourceDefinitions."),
    ),
}
