"""How a command reaches the cluster.

The client is imported where it is used: the import takes a second, and some commands need no cluster.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from gatehouse.cli.exits import exits
from gatehouse.errors import ActionError

if TYPE_CHECKING:
    from gatehouse.cluster.client import ApiClient

__all__ = ["ContextOption", "KubeconfigOption", "cluster", "default_namespace", "run_command"]

POD_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
"""The file in which a Pod finds its own namespace."""

T = TypeVar("T")

KubeconfigOption = Annotated[
    Path | None, typer.Option("--kubeconfig", help="Kubeconfig file. Default: KUBECONFIG or ~/.kube/config.")
]
ContextOption = Annotated[
    str | None, typer.Option("--context", help="Context of the kubeconfig. Default: its current context.")
]


def run_command(work: Callable[[], Awaitable[T]], *others: type[Exception]) -> T:
    """Runs the coroutine of a command. Errors of the cluster end the command as :func:`gatehouse.cli.exits.exits` says.

    ``others`` are further errors whose text is the whole message.
    """
    import asyncio

    from gatehouse.cluster.client import ApiError, ClusterError

    async def guarded() -> T:
        try:
            return await work()
        except ApiError as error:
            raise ActionError(f"{error.message} ({error.status} {error.reason})") from error

    with exits(ClusterError, *others):
        return asyncio.run(guarded())


@asynccontextmanager
async def cluster(kubeconfig: Path | None, context: str | None) -> AsyncIterator[ApiClient]:
    """A client of the cluster."""
    from gatehouse.cluster.client import ApiClient

    async with await ApiClient.connect(kubeconfig=kubeconfig, context=context, connections=8) as client:
        yield client


async def default_namespace(kubeconfig: Path | None, context: str | None) -> str:
    """The namespace of the context, or of the Pod, as kubectl chooses it."""
    if kubeconfig is None and context is None and (namespace := _pod_namespace()):
        return namespace
    from kubernetes.aio.config import list_kube_config_contexts
    from kubernetes.aio.config.config_exception import ConfigException

    try:
        contexts, active = list_kube_config_contexts(str(kubeconfig) if kubeconfig else None)
    except ConfigException:
        return "default"
    chosen = next((entry for entry in contexts if entry["name"] == context), active) if context else active
    return str(chosen.get("context", {}).get("namespace") or "default")


def _pod_namespace() -> str:
    try:
        return POD_NAMESPACE.read_text().strip()
    except OSError:
        return ""
