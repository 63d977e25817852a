"""``gatehouse connection``: the connection that KServe loads artifacts with, in the namespace of the services."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from gatehouse.cli.connection import ContextOption, KubeconfigOption, cluster, default_namespace, run_command
from gatehouse.cli.exits import fail
from gatehouse.printing import stderr, stdout

if TYPE_CHECKING:
    from gatehouse.domain.common.finding import Finding
    from gatehouse.install.connections import Form
    from gatehouse.storage.providers.provider import Connection

__all__ = ["FormChoice", "app"]

Output = Literal["text", "yaml", "json"]
FormChoice = Literal["kserve", "openshift-ai"]
"""``Form`` of the connections, whose import takes longer than help and completion may; a test compares both."""

_STDIN = "-"

app = typer.Typer(
    rich_markup_mode=None,
    add_completion=False,
    no_args_is_help=True,
    help="Create the connection that KServe loads artifacts with.",
)


@app.callback()
def _connection() -> None:
    """Create the connection that KServe loads artifacts with."""


@app.command()
def create(
    name: Annotated[
        str | None,
        typer.Argument(metavar="[NAME]", help="Key of the connection. Default: the key that the registry names."),
    ] = None,
    registry: Annotated[
        str | None,
        typer.Option(metavar="NAMESPACE/NAME", help="ModelRegistry whose key, endpoint and region are used."),
    ] = None,
    namespace: Annotated[
        str | None,
        typer.Option(
            "-n", "--namespace", help="Namespace of the services. Default: the namespace of the current context."
        ),
    ] = None,
    endpoint: Annotated[
        str | None,
        typer.Option(
            metavar="URL", help="S3 endpoint. Default: the endpoint of the registry, or of AWS for the region."
        ),
    ] = None,
    region: Annotated[
        str | None,
        typer.Option(help="Region. Default: the region of the registry, or us-east-1. A host of AWS has its own."),
    ] = None,
    bucket: Annotated[str, typer.Option(help="Bucket, for a registry with several stores and for OpenShift AI.")] = "",
    access_key_file: Annotated[
        str | None, typer.Option(metavar="FILE", help="File of the access key. Default: AWS_ACCESS_KEY_ID.")
    ] = None,
    secret_key_file: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="File of the secret key, - for stdin. Default: AWS_SECRET_ACCESS_KEY."),
    ] = None,
    credentials_secret: Annotated[
        str | None,
        typer.Option(
            metavar="NAMESPACE/NAME",
            help="Secret in the cluster with both keys, such as minio/minio-serving of the shipped MinIO.",
        ),
    ] = None,
    anonymous: Annotated[
        bool, typer.Option("--anonymous", help="Connect without credentials; for kserve only.")
    ] = False,
    ca_config_map: Annotated[
        str, typer.Option(metavar="NAME", help="ConfigMap with the CA certificates of the store as cabundle.crt.")
    ] = "",
    form: Annotated[
        FormChoice,
        typer.Option("--for", help="kserve: a key of Secret storage-config; openshift-ai: a data connection."),
    ] = "kserve",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the Secret without a write.")] = False,
    output: Annotated[
        Output,
        typer.Option("-o", "--output", help="Output format. yaml and json print the Secret, with --dry-run only."),
    ] = "text",
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = None,
) -> None:
    """Create or update the connection that KServe loads artifacts with.

    On plain KServe, the connection is a key of the Secret storage-config; the command keeps the other keys. On
    OpenShift AI, the connection is a data connection. The access key and the secret key come from files, from stdin,
    from a Secret or from the environment, never from arguments. The command prints them only with --dry-run and -o yaml
    or json. Use credentials that may only read. In a namespace with a stage, an administrator of the stage runs the
    command. You can run the command at any time.

    Gatehouse uses the same endpoint and region for the store of the registry, even for AWS without an endpoint and in
    every partition. The command warns about properties that a connection cannot describe: requester-pays buckets,
    buckets in the host name, proxies, and private CA certificates.

    Exit codes: 0 success, 2 error.

    Examples:

      gatehouse connection create --registry model-registry/model-registry -n chatbots --secret-key-file ./secret-key

      gatehouse connection create --registry model-registry/model-registry -n chatbots \\
        --credentials-secret minio/minio-serving

      vault read -field=secret models | gatehouse connection create minio-connection -n chatbots --secret-key-file - \\
        --endpoint https://minio.example.com

      gatehouse connection create weights -n chatbots --region cn-north-1 --secret-key-file ./secret-key

      gatehouse connection create models -n chatbots --for openshift-ai --endpoint "$AWS_ENDPOINT_URL" --bucket models
    """
    from gatehouse.install.connection_request import ConnectionRequest, read_registry, secret_credentials
    from gatehouse.install.connections import ensure_connection

    if output != "text" and not dry_run:
        fail(f"-o {output} prints credentials and is for --dry-run only; leave it out")
    if anonymous and form == "openshift-ai":
        fail("a data connection of OpenShift AI has credentials; leave --anonymous out")
    if credentials_secret is not None and (anonymous or access_key_file or secret_key_file):
        fail("--credentials-secret has both keys; leave --anonymous, --access-key-file and --secret-key-file out")
    credentials: tuple[str, ...] = ()
    if credentials_secret is None and not anonymous:
        credentials = _credentials({"--access-key-file": access_key_file, "--secret-key-file": secret_key_file})
    request = ConnectionRequest(
        name=name, endpoint=endpoint, region=region, bucket=bucket, ca_config_map=ca_config_map, form=form
    )

    async def work() -> str:
        target = namespace or await default_namespace(kubeconfig, context)
        if dry_run and registry is None and credentials_secret is None:
            connection, limits = request.connection(None, credentials)
            _warn(limits)
            return _shown(connection, target, form=form, output=output)
        async with cluster(kubeconfig, context) as client:
            source = await read_registry(client, registry) if registry else None
            given = credentials
            if credentials_secret:
                given = await secret_credentials(client, credentials_secret, request.provider(source))
            connection, limits = request.connection(source, given)
            _warn(limits)
            if dry_run:
                return _shown(connection, target, form=form, output=output)
            return str(await ensure_connection(client, connection, namespace=target, form=form))

    said = run_command(work)
    if output == "yaml":
        stdout().documents([said])
    elif output == "json":
        stdout().data(json.loads(said))
    else:
        stdout().text(said.rstrip("\n"))


def _warn(limits: Iterable[Finding]) -> None:
    for problem in limits:
        stderr().labelled("warning", f"{problem.found}; {problem.remedy}")


def _shown(connection: Connection, namespace: str, *, form: Form, output: Output) -> str:
    from gatehouse.domain.serving.template import to_yaml
    from gatehouse.install.connections import manifest

    made: Mapping[str, Any] = manifest(connection, namespace=namespace, form=form)
    if output == "yaml":
        return to_yaml(made)
    if output == "json":
        return json.dumps(made)
    keys = ", ".join(made["stringData"])
    return f"would write Secret {namespace}/{made['metadata']['name']} with {keys} for {connection.endpoint}"


def _credentials(files: Mapping[str, str | None]) -> tuple[str, ...]:
    """The values of the flags, in the order of the provider's keys; ends the command where one is missing."""
    from gatehouse.install.connection_request import UNNAMED, session_token_refusal

    if None in files.values() and os.environ.get(UNNAMED.session_key):
        fail(session_token_refusal(f"{UNNAMED.session_key} is set"))
    flags = zip(UNNAMED.credential_keys, files.items(), strict=True)
    return tuple(_read(file, variable=variable, flag=flag) for variable, (flag, file) in flags)


def _read(file: str | None, *, variable: str, flag: str) -> str:
    """The value from a file, stdin or the environment; ends the command where the value is missing."""
    if file is None:
        value, where = os.environ.get(variable, ""), variable
    elif file == _STDIN:
        value, where = sys.stdin.read(), "stdin"
    else:
        where = file
        try:
            value = Path(file).read_text()
        except (OSError, UnicodeDecodeError) as error:
            fail(f"{flag} {file} cannot be read: {error}")
    if not value.strip():
        fail(f"{where} is empty; set {variable}, or name a file with {flag}, or use --anonymous")
    return value.strip()
