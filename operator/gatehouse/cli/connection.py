"""How a command reaches the cluster, and how it says that it could not.

The client is imported where it is used: it takes a second, and some commands need no cluster.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn, TypeVar

import typer

from gatehouse.domain.common.errors import ReconcileError
from gatehouse.printing import stderr

if TYPE_CHECKING:
    from gatehouse.cluster.client import ApiClient

__all__ = [
    "ERROR",
    "NOT_READY",
    "ContextOption",
    "KubeconfigOption",
    "cluster",
    "default_namespace",
    "fail",
    "fail_for",
    "run_command",
]

NOT_READY = 1
ERROR = 2
POD_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
"""Where a Pod finds the namespace that it is in."""

T = TypeVar("T")

KubeconfigOption = Annotated[
    Path | None, typer.Option("--kubeconfig", help="Kubeconfig file; KUBECONFIG or ~/.kube/config when absent.")
]
ContextOption = Annotated[str | None, typer.Option("--context", help="Context of the kubeconfig.")]


def fail(message: str, *, code: int = ERROR) -> NoReturn:
    """Says why on stderr and ends the command."""
    stderr().labelled("error", message)
    raise typer.Exit(code)


def fail_for(error: ReconcileError) -> NoReturn:
    """Ends the command by what a database refused: what happened, and what to do about it."""
    fail(f"{error.message}. {error.remedy}".rstrip(". ") + ".")


def run_command(work: Callable[[], Awaitable[T]]) -> T:
    """Runs a command's coroutine; what the cluster refuses ends it with code 2 and the reason."""

    from gatehouse.cluster.client import ApiError, ClusterError  # noqa: PLC0415

    async def guarded() -> T:
        return await work()

    try:
        return asyncio.run(guarded())
    except ApiError as error:
        fail(f"{error.message} ({error.status} {error.reason})")
    except ClusterError as error:
        fail(str(error))


@asynccontextmanager
async def cluster(kubeconfig: Path | None, context: str | None) -> AsyncIterator[ApiClient]:
    """A client of the cluster."""
    from gatehouse.cluster.client import ApiClient  # noqa: PLC0415

    async with await ApiClient.connect(kubeconfig=kubeconfig, context=context, connections=8) as client:
        yield client


async def default_namespace(kubeconfig: Path | None, context: str | None) -> str:
    """The namespace of the context, or of the Pod, as kubectl takes it."""
    if kubeconfig is None and context is None and (namespace := _pod_namespace()):
        return namespace
    from kubernetes.aio.config import list_kube_config_contexts  # noqa: PLC0415
    from kubernetes.aio.config.config_exception import ConfigException  # noqa: PLC0415

    try:
        contexts, active = list_kube_config_contexts(str(kubeconfig) if kubeconfig else None)
    except ConfigException:
        return "default"
    chosen = next((each for each in contexts if each["name"] == context), active) if context else active
    return str(chosen.get("context", {}).get("namespace") or "default")


def _pod_namespace() -> str:
    try:
        return POD_NAMESPACE.read_text().strip()
    except OSError:
        return ""
