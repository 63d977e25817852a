"""The kubeconfig with the rights of the operator."""

from __future__ import annotations

from pathlib import Path

from gatehouse_local.controlplane import OPERATOR_USER
from gatehouse_local.ephemeral import RunningControlPlane


def operator_kubeconfig(plane: RunningControlPlane) -> Path:
    """Nobody else writes a status."""
    return plane.kubeconfig.with_name(f"{OPERATOR_USER}.kubeconfig")
