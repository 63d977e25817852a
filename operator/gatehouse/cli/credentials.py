"""``gatehouse credentials``: the Secrets of an installation, created once and kept."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gatehouse.cli.connection import ContextOption, KubeconfigOption, cluster, run_command
from gatehouse.cli.exits import exits
from gatehouse.cli.signals import until_told_to_stop
from gatehouse.errors import ConditionNotMet
from gatehouse.printing import stdout

if TYPE_CHECKING:
    from gatehouse.install.credentials_file import CredentialsFile

__all__ = ["credentials"]


def credentials(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="YAML file that lists the Secrets; see kustomize/overlays.")
    ],
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = None,
) -> None:
    """Create the Secrets of an installation.

    The command creates missing Secrets with random passwords and keys, and updates copies of Secrets from their source.
    It keeps Secrets that exist. It renews only certificates that it made itself: 120 days before they expire, or when
    they lack an expected name. It prints no password and no private key. It adds the public half of a key to a
    ConfigMap, before the earlier ones. You can run the command at any time, even twice at once.

    Exit codes: 0 success, 1 condition not met: stopped before every Secret existed, 2 error, such as a Secret that
    lacks a key.

    Examples:

      gatehouse credentials credentials.yaml
    """
    from gatehouse.install.credentials_file import load_credentials_file

    stopped = ConditionNotMet("stopped by SIGTERM; the Secrets that were created stay, run the command again")
    with exits():
        credentials = load_credentials_file(file)
    run_command(lambda: until_told_to_stop(_report(credentials, kubeconfig, context), stopped=stopped))


async def _report(credentials: CredentialsFile, kubeconfig: Path | None, context: str | None) -> None:
    from gatehouse.install.credentials import ensure

    async with cluster(kubeconfig, context) as client:
        for secret in credentials.secrets:
            for outcome in await ensure(client, secret):
                stdout().line(str(outcome))
