"""Runs kubectl, which supports every kubeconfig and login plugin, and renders kustomize."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from gatehouse.install.errors import KubectlFailed, KubectlMissing
from gatehouse.install.manifests import Manifest, dump

__all__ = ["FIELD_MANAGER", "Kubectl", "find_kubectl"]

FIELD_MANAGER: Final = "gatehouse-deploy"
_REQUEST_TIMEOUT: Final = "--request-timeout=60s"


def find_kubectl(*, local: Callable[[], Path | None]) -> Path:
    """The kubectl on the PATH, or else the kubectl that ``local`` finds in the local cluster's cache.

    Raises:
        KubectlMissing: both are missing.
    """
    on_path = shutil.which("kubectl")
    path = Path(on_path) if on_path else local()
    if path is None:
        raise KubectlMissing(
            "kubectl is neither on the PATH nor in the cache of the local cluster; "
            "install it (https://kubernetes.io/docs/tasks/tools/), or run: gatehouse local programs"
        )
    return path


class Kubectl:
    """kubectl with one context."""

    def __init__(self, program: Path, *, kubeconfig: Path | None = None, context: str | None = None) -> None:
        self._program = program
        self._options = [
            *([f"--kubeconfig={kubeconfig}"] if kubeconfig else []),
            *([f"--context={context}"] if context else []),
        ]

    def render(self, folder: Path) -> str:
        """The objects of a kustomization, as YAML. Needs no cluster."""
        return self._call("kustomize", str(folder))

    def run(self, *arguments: str, text: str | None = None) -> str:
        """The output of a command; ``text`` is its stdin.

        Raises:
            KubectlFailed: the command ended with an error.
        """
        return self._call(*self._options, *arguments, text=text)

    def apply(self, manifests: Iterable[Manifest]) -> None:
        """Server-side apply. Takes over fields that others set, because the files define the desired state."""
        options = ("--server-side", "--force-conflicts", f"--field-manager={FIELD_MANAGER}", _REQUEST_TIMEOUT)
        self.run("apply", *options, "--filename=-", text=dump(manifests))

    def delete(self, manifests: Iterable[Manifest], *, seconds: float) -> None:
        """Deletes the existing objects with all their dependents, and returns after their deletion."""
        self.run(
            "delete",
            "--ignore-not-found",
            "--cascade=foreground",
            f"--timeout={seconds:.0f}s",
            "--filename=-",
            text=dump(manifests),
        )

    def drop(self, manifests: Iterable[Manifest]) -> None:
        """Deletes existing objects that nothing holds back, without a wait: kubectl observes a deletion in 0.2 s."""
        self.run("delete", "--ignore-not-found", "--wait=false", "--filename=-", text=dump(manifests))

    def wait_gone(self, manifests: Iterable[Manifest], *, seconds: float) -> None:
        """Returns when none of these objects exists.

        Raises:
            KubectlFailed: an object still exists after ``seconds``.
        """
        self.run("wait", "--for=delete", f"--timeout={seconds:.0f}s", "--filename=-", text=dump(manifests))

    def touch(self, manifest: Manifest) -> None:
        """Triggers a new reconcile of the object through an annotation with the time of the request.

        Raises:
            KubectlFailed: the object does not exist, or the API server refused.
        """
        self.run("annotate", "--overwrite", manifest.kind, manifest.name, f"gatehouse.dev/touched={time.time():.3f}")

    def list(self, kinds: str, *options: str) -> tuple[Mapping[str, Any], ...]:
        """The objects of the kinds (``a,b``)."""
        answer = json.loads(self.run("get", kinds, *options, _REQUEST_TIMEOUT, "--output=json") or "{}")
        items: list[Mapping[str, Any]] = answer.get("items", []) if isinstance(answer, dict) else []
        return tuple(items)

    def _call(self, *arguments: str, text: str | None = None) -> str:
        answer = subprocess.run(
            [str(self._program), *arguments],
            input=text if text is not None else "",
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        if answer.returncode != 0:
            verb = next((each for each in arguments if not each.startswith("-")), "")
            raise KubectlFailed(f"kubectl {verb}: {answer.stderr.strip() or f'exit code {answer.returncode}'}")
        return answer.stdout
