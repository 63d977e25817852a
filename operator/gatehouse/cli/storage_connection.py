"""``gatehouse connection``: what KServe loads artifacts by, in the namespace where they are served."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import orjson
import typer
from pydantic import ValidationError

from gatehouse.api.model_registry import ModelRegistry, ObjectStore
from gatehouse.cli.connection import (
    ContextOption,
    KubeconfigOption,
    cluster,
    default_namespace,
    fail,
    run_command,
)
from gatehouse.cluster.client import ApiClient
from gatehouse.deploy.connections import (
    ACCESS_KEY,
    SECRET_KEY,
    Connection,
    Form,
    Written,
    decoded,
    ensure_connection,
    manifest,
)
from gatehouse.deploy.errors import ForeignSecret
from gatehouse.domain.serving_text import to_yaml
from gatehouse.printing import stdout

__all__ = ["app"]

Output = Literal["text", "yaml", "json"]

_KEY = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", re.ASCII)
_URL = re.compile(r"https?://[^/?#@\s]+/?", re.ASCII)
_STDIN = "-"

app = typer.Typer(add_completion=False, no_args_is_help=True, help="The connections that artifacts are loaded by.")


@app.callback()
def _connection() -> None:
    """The connections that artifacts are loaded by."""


@app.command()
def create(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="Key of the connection; that of --registry when absent.")
    ] = None,
    registry: Annotated[
        str | None,
        typer.Option(metavar="NAMESPACE/NAME", help="ModelRegistry that NAME, endpoint and region are taken from."),
    ] = None,
    namespace: Annotated[
        str | None,
        typer.Option("-n", "--namespace", help="Namespace of the services; that of the context when absent."),
    ] = None,
    endpoint: Annotated[str | None, typer.Option(metavar="URL", help="S3 endpoint.")] = None,
    region: Annotated[str | None, typer.Option(help="Region; us-east-1 when absent.")] = None,
    bucket: Annotated[str, typer.Option(help="Bucket, for OpenShift AI.")] = "",
    access_key_file: Annotated[
        str | None, typer.Option(metavar="FILE", help="File of the access key; AWS_ACCESS_KEY_ID when absent.")
    ] = None,
    secret_key_file: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="File of the secret key, - for stdin; AWS_SECRET_ACCESS_KEY when absent."),
    ] = None,
    credentials_secret: Annotated[
        str | None,
        typer.Option(
            metavar="NAMESPACE/NAME",
            help="Secret of the cluster with both keys, such as minio/minio-serving of the shipped MinIO.",
        ),
    ] = None,
    anonymous: Annotated[bool, typer.Option("--anonymous", help="Read without credentials; for kserve only.")] = False,
    ca_config_map: Annotated[
        str, typer.Option(metavar="NAME", help="ConfigMap with the store's authority as cabundle.crt.")
    ] = "",
    form: Annotated[
        Form, typer.Option("--for", help="kserve: a key of Secret storage-config; openshift-ai: a data connection.")
    ] = "kserve",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Write nothing.")] = False,
    output: Annotated[
        Output, typer.Option("-o", "--output", help="text; or yaml, json: the Secret, for --dry-run only.")
    ] = "text",
    kubeconfig: KubeconfigOption = None,
    context: ContextOption = None,
) -> None:
    """Make the connection that KServe loads artifacts by, or bring it in line.

    On plain KServe it is a key of the Secret storage-config; its other keys stay. On OpenShift AI it is a data
    connection. The two halves of the credentials come from files, from stdin, from a Secret or from the environment,
    never from arguments, and are not printed, except in the Secret that --dry-run -o yaml asks for. In a namespace with
    a stage an administrator of the stage runs this. Use credentials that may only read. Run it as often as you like.

    Exit codes: 0 it is there, 2 an error.

    Examples:

      gatehouse connection create --registry model-registry/model-registry -n chatbots --secret-key-file ./secret-key

      gatehouse connection create --registry model-registry/model-registry -n chatbots \\
        --credentials-secret minio/minio-serving

      vault read -field=secret models | gatehouse connection create minio-connection -n chatbots --secret-key-file - \\
        --endpoint https://minio.example.com

      gatehouse connection create models -n chatbots --for openshift-ai --endpoint "$AWS_ENDPOINT_URL" --bucket models
    """
    if output != "text" and not dry_run:
        fail(f"-o {output} prints credentials and is for --dry-run only; leave it out")
    if anonymous and form == "openshift-ai":
        fail("a data connection of OpenShift AI has credentials; leave --anonymous out")
    if credentials_secret is not None and (anonymous or access_key_file or secret_key_file):
        fail("--credentials-secret has both keys; leave --anonymous, --access-key-file and --secret-key-file out")
    credentials = ("", "")
    if credentials_secret is None and not anonymous:
        credentials = _access_key(access_key_file), _secret_key(secret_key_file)
    given = _Given(name=name, endpoint=endpoint, region=region, bucket=bucket, ca_config_map=ca_config_map)

    async def work() -> str:
        target = namespace or await default_namespace(kubeconfig, context)
        if dry_run and registry is None and credentials_secret is None:
            return _shown(given.connection(None, credentials), target, form=form, output=output)
        async with cluster(kubeconfig, context) as client:
            found = await _registry(client, registry) if registry else None
            kept = await _of_secret(client, credentials_secret) if credentials_secret else credentials
            connection = given.connection(found, kept)
            if dry_run:
                return _shown(connection, target, form=form, output=output)
            return str(await _ensured(client, connection, target, form=form))

    said = run_command(work)
    if output == "yaml":
        stdout().documents([said])
    elif output == "json":
        stdout().data(orjson.loads(said))
    else:
        stdout().text(said.rstrip("\n"))


class _Given:
    """The flags, laid over what a registry says."""

    def __init__(self, *, name: str | None, endpoint: str | None, region: str | None, **more: str) -> None:
        self._name = name
        self._endpoint = endpoint
        self._region = region
        self._more = more

    def connection(self, registry: ModelRegistry | None, credentials: tuple[str, str]) -> Connection:
        """The connection; ends the command where something is missing or malformed."""
        store = _store(registry) if registry else None
        key = self._name or (registry.spec.serving.connection_secret if registry else "")
        endpoint = self._endpoint or (store.endpoint if store else None) or ""
        if not _KEY.fullmatch(key):
            fail(f"the name is {key!r}; it must be one of lower-case letters, digits and dashes, or name --registry")
        if not _URL.fullmatch(endpoint):
            fail(f"the endpoint is {endpoint!r}; it must be a URL, as in --endpoint https://minio.example.com")
        return Connection(
            key=key,
            endpoint=endpoint.rstrip("/"),
            region=self._region or (store.region if store else "us-east-1"),
            access_key=credentials[0],
            secret_key=credentials[1],
            **self._more,
        )


def _store(registry: ModelRegistry) -> ObjectStore:
    """The one store of the registry, or the first: its versions' templates name one connection for all of them."""
    stores = registry.spec.object_stores
    if not stores:
        fail(
            f"ModelRegistry {registry.metadata.namespace}/{registry.metadata.name} has no object store; use --endpoint"
        )
    return stores[0]


async def _registry(client: ApiClient, reference: str) -> ModelRegistry:
    body = await client.get("modelregistries", *_pair(reference, flag="--registry"))
    try:
        return ModelRegistry.model_validate(body)
    except ValidationError:
        fail(f"ModelRegistry {reference} does not read; use --endpoint and a name")


async def _of_secret(client: ApiClient, reference: str) -> tuple[str, str]:
    """The two halves that a Secret of the cluster has."""
    body = await client.get("secrets", *_pair(reference, flag="--credentials-secret"))
    data = body.get("data") or {}
    found = tuple(decoded(str(data.get(key, ""))).strip() for key in (ACCESS_KEY, SECRET_KEY))
    if missing := [key for key, value in zip((ACCESS_KEY, SECRET_KEY), found, strict=True) if not value]:
        fail(f"Secret {reference} has no key {' and no key '.join(missing)}; name the Secret of a user that may read")
    return found[0], found[1]


def _pair(reference: str, *, flag: str) -> tuple[str, str]:
    namespace, _, name = reference.partition("/")
    if not namespace or not name or "/" in name:
        fail(f"{flag} is {reference!r}; it must be NAMESPACE/NAME")
    return namespace, name


async def _ensured(client: ApiClient, connection: Connection, namespace: str, *, form: Form) -> Written:
    try:
        return await ensure_connection(client, connection, namespace=namespace, form=form)
    except ForeignSecret as error:
        fail(str(error))


def _shown(connection: Connection, namespace: str, *, form: Form, output: Output) -> str:
    made: Mapping[str, Any] = manifest(connection, namespace=namespace, form=form)
    if output == "yaml":
        return to_yaml(made)
    if output == "json":
        return orjson.dumps(made, option=orjson.OPT_INDENT_2).decode()
    keys = ", ".join(made["stringData"])
    return f"would write Secret {namespace}/{made['metadata']['name']} with {keys} for {connection.endpoint}"


def _access_key(file: str | None) -> str:
    return _read(file, variable=ACCESS_KEY, flag="--access-key-file")


def _secret_key(file: str | None) -> str:
    return _read(file, variable=SECRET_KEY, flag="--secret-key-file")


def _read(file: str | None, *, variable: str, flag: str) -> str:
    """The value from a file, stdin or the environment; ends the command where it is nowhere."""
    if file is None:
        value, where = os.environ.get(variable, ""), variable
    elif file == _STDIN:
        value, where = sys.stdin.read(), "stdin"
    else:
        where = file
        try:
            value = Path(file).read_text()
        except (OSError, UnicodeDecodeError) as error:
            fail(f"{flag} {file} does not read: {error}")
    if not value.strip():
        fail(f"{where} is empty; set {variable}, or name a file with {flag}, or use --anonymous")
    return value.strip()
