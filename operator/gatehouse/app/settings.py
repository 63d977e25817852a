"""Every setting of the operator process, as one frozen value."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

__all__ = ["Settings", "default_identity"]


def default_identity() -> str:
    """The Pod's name, or the host's, and something that two lives of one Pod do not share."""
    return f"{os.environ.get('POD_NAME') or socket.gethostname()}_{uuid4().hex[:8]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Settings of one operator process. Times are seconds."""

    data_dir: Path
    kubeconfig: Path | None = None
    context: str | None = None
    namespaces: tuple[str, ...] = ()
    health_address: str = "127.0.0.1:8081"
    leader_elect: bool = True
    lease_namespace: str = "gatehouse-system"
    lease_name: str = "gatehouse-operator"
    identity: str = field(default_factory=default_identity)
    version_workers: int = 64
    """Versions reconciled at once. Each waits most of its time, and the rows of those that wait share a transaction."""
    sweep_interval: float = 600.0
    """How often the caches are compared with the API server."""
    patience: float = 2.0
    """How long a reconcile waits for a check before it shows progress instead."""
