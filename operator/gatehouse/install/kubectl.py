"""kubectl as a program: it knows every kubeconfig and login plugin, and renders kustomize."""

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
    """The kubectl on the PATH, or else the one that ``local`` finds in the local cluster's cache.

    Raises:
        KubectlMissing: there is neither.
    """
    on_path = shutil.which("kubectl")
    path = Path(on_path) if on_path else local()
    if path is None:
        raise KubectlMissing(
            "kubectl is neither on the PATH nor in the local cluster's cache; "
            "install it (https://kubernetes.io/docs/tasks/tools/), or run: gatehouse local programs"
        )
    return path


class Kubectl:
    """One kubectl, one context."""

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
        """What the command prints; ``text`` is its stdin.

        Raises:
            KubectlFailed: it ended with an error.
        """
        return self._call(*self._options, *arguments, text=text)

    def apply(self, manifests: Iterable[Manifest]) -> None:
        """Server-side apply; fields that others set are taken over: the files are what is wanted."""
        options = ("--server-side", "--force-conflicts", f"--field-manager={FIELD_MANAGER}", _REQUEST_TIMEOUT)
        self.run("apply", *options, "--filename=-", text=dump(manifests))

    def delete(self, manifests: Iterable[Manifest], *, seconds: float) -> None:
        """Deletes what is there of these, with all that belongs to it, and returns when it is gone."""
        self.run(
            "delete",
            "--ignore-not-found",
            "--cascade=foreground",
            f"--timeout={seconds:.0f}s",
            "--filename=-",
            text=dump(manifests),
        )

    def drop(self, manifests: Iterable[Manifest]) -> None:
        """Deletes what is there of these, which nothing holds back: to see that one is gone takes kubectl 0.2 s."""
        self.run("delete", "--ignore-not-found", "--wait=false", "--filename=-", text=dump(manifests))

    def wait_gone(self, manifests: Iterable[Manifest], *, seconds: float) -> None:
        """Returns when none of these is there.

        Raises:
            KubectlFailed: one still is, after so long.
        """
        self.run("wait", "--for=delete", f"--timeout={seconds:.0f}s", "--filename=-", text=dump(manifests))

    def touch(self, manifest: Manifest) -> None:
        """Makes the controllers look at it again: an annotation tells when this was asked.

        Raises:
            KubectlFailed: it is not there, or the API server refused.
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
