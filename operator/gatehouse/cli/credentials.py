"""``gatehouse credentials``: the Secrets of an installation, made once and kept."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gatehouse.cli.connection import NOT_READY, ContextOption, KubeconfigOption, cluster, fail, run_command
from gatehouse.cli.signals import Stopped, until_told_to_stop
from gatehouse.install.credentials import ensure
from gatehouse.install.credentials_file import CredentialsFile, load_credentials_file
from gatehouse.install.errors import DeployError
from gatehouse.printing import stdout

__all__ = ["credentials"]


def credentials(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Which Secrets, as YAML; see kustomize/overlays.")],
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = None,
) -> None:
    """Create the Secrets that are absent, with random passwords and keys, and bring copies in line with their source.

    A Secret that exists is kept as it is, but for a certificate that this command made: it is made anew 120 days before
    it ends, and when it is not for the wanted names. No password and no private key is printed. The public half of a
    key goes into a ConfigMap, before those that were there. Run it as often as you like, also twice at once.

    Exit codes: 0 all are there, 1 stopped before that, 2 an error, such as a Secret that lacks a key.

    Examples:

      gatehouse credentials credentials.yaml
    """
    try:
        wanted = load_credentials_file(file)
        run_command(lambda: until_told_to_stop(_report(wanted, kubeconfig=kubeconfig, context=context)))
    except Stopped as stopped:
        fail(f"{stopped}; what was made stays, run it again", code=NOT_READY)
    except DeployError as error:
        fail(str(error))


async def _report(wanted: CredentialsFile, *, kubeconfig: Path | None, context: str | None) -> None:
    async with cluster(kubeconfig, context) as client:
        for secret in wanted.secrets:
            for outcome in await ensure(client, secret):
                stdout().line(str(outcome))
