"""``gatehouse connection``: what KServe loads artifacts by, in the namespace where they are served."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
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
from gatehouse.domain.common.errors import Stalled
from gatehouse.domain.common.finding import Finding
from gatehouse.domain.common.locations import locate
from gatehouse.domain.serving.initializer import loading_of
from gatehouse.domain.serving.template import to_yaml
from gatehouse.install.connections import (
    ACCESS_KEY,
    SECRET_KEY,
    Connection,
    Form,
    Written,
    decoded,
    ensure_connection,
    manifest,
)
from gatehouse.install.errors import ForeignSecret
from gatehouse.printing import stderr, stdout

__all__ = ["app"]

Output = Literal["text", "yaml", "json"]

_KEY = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", re.ASCII)
_URL = re.compile(r"https?://[^/?#@\s]+/?", re.ASCII)
_STDIN = "-"
_SESSION_TOKEN = "AWS_SESSION_TOKEN"  # noqa: S105 - the name of a variable

app = typer.Typer(add_completion=False, no_args_is_help=True, help="The connections that artifacts are loaded by.")


@app.callback()
def _connection() -> None:
    """The connections that artifacts are loaded by."""


@app.command()
def create(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="Key of the connection; the registry's key when absent.")
    ] = None,
    registry: Annotated[
        str | None,
        typer.Option(metavar="NAMESPACE/NAME", help="ModelRegistry that NAME, endpoint and region are taken from."),
    ] = None,
    namespace: Annotated[
        str | None,
        typer.Option("-n", "--namespace", help="Namespace of the services; the context's namespace when absent."),
    ] = None,
    endpoint: Annotated[
        str | None,
        typer.Option(metavar="URL", help="S3 endpoint; the registry's, or AWS's for the region, when absent."),
    ] = None,
    region: Annotated[
        str | None, typer.Option(help="Region; the registry's, or us-east-1, when absent. A host of AWS has its own.")
    ] = None,
    bucket: Annotated[
        str, typer.Option(help="Bucket: which store of the registry, where it has several; and for OpenShift AI.")
    ] = "",
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

    Endpoint and region are those that Gatehouse itself uses for the registry's store, also of AWS without an endpoint
    and in every partition. What a connection cannot tell KServe is said on stderr: requesters who pay, a bucket that
    goes into the host's name, a proxy, a private authority.

    Exit codes: 0 it is there, 2 an error.

    Examples:

      gatehouse connection create --registry model-registry/model-registry -n chatbots --secret-key-file ./secret-key

      gatehouse connection create --registry model-registry/model-registry -n chatbots \\
        --credentials-secret minio/minio-serving

      vault read -field=secret models | gatehouse connection create minio-connection -n chatbots --secret-key-file - \\
        --endpoint https://minio.example.com

      gatehouse connection create weights -n chatbots --region cn-north-1 --secret-key-file ./secret-key

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
    given = _Given(name=name, endpoint=endpoint, region=region, bucket=bucket, ca_config_map=ca_config_map, form=form)

    async def work() -> str:
        target = namespace or await default_namespace(kubeconfig, context)
        if dry_run and registry is None and credentials_secret is None:
            connection, limits = given.connection(None, credentials)
            _warn(limits)
            return _shown(connection, target, form=form, output=output)
        async with cluster(kubeconfig, context) as client:
            found = await _registry(client, registry) if registry else None
            kept = await _of_secret(client, credentials_secret) if credentials_secret else credentials
            connection, limits = given.connection(found, kept)
            _warn(limits)
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Given:
    """The flags, laid over what a registry says."""

    name: str | None
    endpoint: str | None
    region: str | None
    bucket: str
    ca_config_map: str
    form: Form

    def connection(
        self, registry: ModelRegistry | None, credentials: tuple[str, str]
    ) -> tuple[Connection, Sequence[Finding]]:
        """The connection, and what it cannot say; ends the command where something is missing or malformed."""
        key = self.name or (registry.spec.serving.connection_secret if registry else "")
        if not _KEY.fullmatch(key):
            fail(f"the name is {key!r}; it must be one of lower-case letters, digits and dashes, or name --registry")
        store = self._laid_over(self._store(registry) if registry else None)
        try:
            loading = loading_of(store)
        except Stalled as error:
            fail(f"{error.message}. {error.remedy}")
        bucket = self.bucket
        if registry is not None and self.form == "openshift-ai":
            bucket = locate(store.uri_prefix).bucket
        connection = Connection(
            key=key,
            endpoint=loading.endpoint,
            region=loading.region,
            access_key=credentials[0],
            secret_key=credentials[1],
            bucket=bucket,
            ca_config_map=self.ca_config_map,
        )
        return connection, [*loading.limits, *self._untrusted(store)]

    def _laid_over(self, store: ObjectStore | None) -> ObjectStore:
        """The store with the flags in place of its own fields."""
        endpoint = self.endpoint or (store.endpoint if store else None)
        if store is None and not self.endpoint and not self.region:
            fail("the endpoint is ''; name it, as in --endpoint https://minio.example.com, or --region of AWS")
        if endpoint is not None and not _URL.fullmatch(endpoint):
            fail(f"the endpoint is {endpoint!r}; it must be a URL, as in --endpoint https://minio.example.com")
        changes = {"endpoint": endpoint} | ({"region": self.region} if self.region else {})
        return (store or ObjectStore(uri_prefix="s3://any/")).model_copy(update=changes)

    def _store(self, registry: ModelRegistry) -> ObjectStore:
        """The store that the connection is for: a connection has one endpoint, and templates name one connection."""
        name, stores = f"{registry.metadata.namespace}/{registry.metadata.name}", registry.spec.object_stores
        if self.bucket:
            stores = [store for store in stores if locate(store.uri_prefix).bucket == self.bucket]
        if not stores:
            what = f"no object store with the bucket {self.bucket}" if self.bucket else "no object store"
            fail(f"ModelRegistry {name} has {what}; use --endpoint and a name instead of --registry")
        places = {(store.endpoint, store.region) for store in stores}
        if len(places) > 1 and not self.endpoint:
            prefixes = ", ".join(store.uri_prefix for store in stores)
            fail(f"ModelRegistry {name} has stores at several places ({prefixes}); say which one by --bucket")
        return stores[0]

    def _untrusted(self, store: ObjectStore) -> Iterator[Finding]:
        if store.ca_secret is not None and not self.ca_config_map and self.form == "kserve":
            yield Finding(
                reason="PrivateAuthority",
                found=f"the certificate of {store.endpoint} is of the authority in Secret {store.ca_secret.name}, and "
                "KServe reads authorities from a ConfigMap",
                expected="a ConfigMap with the key cabundle.crt in the namespace of the services",
                remedy="make it of the same certificates and name it by --ca-config-map, unless KServe's own "
                "configuration names one for all namespaces",
            )


def _warn(limits: Iterable[Finding]) -> None:
    for problem in limits:
        stderr().labelled("warning", f"{problem.found}; {problem.remedy}")


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
    if _SESSION_TOKEN in data:
        fail(_no_session(f"Secret {reference} has the key {_SESSION_TOKEN}"))
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
        if os.environ.get(_SESSION_TOKEN):
            fail(_no_session(f"{_SESSION_TOKEN} is set"))
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


def _no_session(found: str) -> str:
    return (
        f"{found}: the keys are lent, and KServe's initializer takes no session token, so the store would refuse them;"
        " use the keys of a user that may only read"
    )
