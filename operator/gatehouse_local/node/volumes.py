"""The folders behind the node's PersistentVolumes."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

from gatehouse_local.files import make_private
from gatehouse_local.kube import KubeClient
from gatehouse_local.node.objects import storage_class, volume, volume_names

__all__ = ["offer_volumes"]

# Any user id of a container may write, with or without an fsGroup. Only root can enter the parent folder.
_MODE: Final = 0o777
_VOLUMES: Final = "/api/v1/persistentvolumes"


def offer_volumes(client: KubeClient, home: Path) -> None:
    """Ensures the default StorageClass and its volumes. Empties and frees volumes whose claim was deleted.

    Raises:
        ApiRefused: the API server refused an object.
    """
    make_private(home)
    client.apply(storage_class())
    phases = {
        each["metadata"]["name"]: each.get("status", {}).get("phase")
        for each in client.request("GET", _VOLUMES)["items"]
    }
    for name in volume_names():
        folder = home / name
        released = phases.get(name) in {"Released", "Failed"}
        if released:
            shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            folder.mkdir()
            folder.chmod(_MODE)
        if name not in phases:
            client.apply(volume(name, folder))
        elif released:
            client.request(
                "PATCH",
                f"{_VOLUMES}/{name}",
                {"spec": {"claimRef": None}},
                content_type="application/merge-patch+json",
            )
