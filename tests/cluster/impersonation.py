"""People without a token of their own."""

from __future__ import annotations

from typing import Self
from urllib.parse import urlsplit

from gatehouse_local.controlplane import ADMIN
from gatehouse_local.ephemeral import RunningControlPlane
from gatehouse_local.kube import KubeClient, trust

__all__ = ["As"]


class As(KubeClient):
    """An administrator's client that impersonates a user; closed by the end of a ``with`` block."""

    def __init__(self, plane: RunningControlPlane, user: str, *, groups: tuple[str, ...] = ()) -> None:
        port = urlsplit(plane.url).port
        assert port is not None
        super().__init__(port=port, token=plane.tokens[ADMIN], tls=trust(plane.authority))
        self._headers = {**self._headers, "Impersonate-User": user}
        if groups:
            [group] = groups
            self._headers["Impersonate-Group"] = group

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
