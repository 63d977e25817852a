"""The overlays, and the objects that each overlay installs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gatehouse.install.errors import OverlayInvalid
from gatehouse.install.manifests import Manifest, load, of_kind, with_image

__all__ = ["MINIO", "OverlayPlan", "overlay_names", "render"]

MINIO: Final = "minio"
_OVERLAYS: Final = "overlays"
_CRD: Final = "CustomResourceDefinition"
_WORKLOADS: Final = -2
"""The sync wave of databases and stores, and of the Jobs that make their Secrets."""
_OPERATOR: Final = 0
"""The sync wave of the operator and other users of databases and stores."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OverlayPlan:
    """All objects of one installation, in the order of application."""

    overlay: str
    manifests: tuple[Manifest, ...]

    @property
    def definitions(self) -> tuple[Manifest, ...]:
        """The CRDs, which must be served before the rest."""
        return of_kind(self.manifests, _CRD)

    @property
    def others(self) -> tuple[Manifest, ...]:
        """Everything but the CRDs."""
        return tuple(manifest for manifest in self.manifests if manifest.kind != _CRD)

    @property
    def parts(self) -> tuple[tuple[Manifest, ...], ...]:
        """Everything but the CRDs, in parts. Each part must run before the next part is applied.

        The first part has the prerequisites of the workloads: namespaces, roles, volumes, and the Jobs that make
        Secrets. Kubernetes retries a Pod without its Secret only after ten seconds or more. The second part has
        databases and stores, and the Job that makes a store's users: after a refusal the operator retries a store only
        after a minute. The third part has the rest.
        """
        first = [each for each in self.others if each.wave < _WORKLOADS or _goes_ahead(each)]
        ahead = {id(each) for each in first}
        left = [each for each in self.others if id(each) not in ahead]
        parts = (
            first,
            [each for each in left if each.wave < _OPERATOR],
            [each for each in left if each.wave >= _OPERATOR],
        )
        return tuple(tuple(part) for part in parts if part)

    @property
    def last_job(self) -> Manifest | None:
        """The Job of the last wave: the seed."""
        return max(self.jobs, key=lambda each: each.wave, default=None)

    @property
    def jobs(self) -> tuple[Manifest, ...]:
        """The Jobs, which run once per installation."""
        return of_kind(self.manifests, "Job")

    @property
    def workloads(self) -> tuple[Manifest, ...]:
        """The workloads that must run, or have run, before the installation is complete."""
        return of_kind(self.manifests, "Deployment", "Job")

    @property
    def namespaces(self) -> tuple[str, ...]:
        """Names of the namespaces that the plan creates."""
        return tuple(manifest.name for manifest in of_kind(self.manifests, "Namespace"))


def overlay_names(folder: Path) -> tuple[str, ...]:
    """The overlays below a kustomize folder."""
    return tuple(sorted(path.parent.name for path in (folder / _OVERLAYS).glob("*/kustomization.yaml")))


def render(
    overlay: str,
    *,
    folder: Path,
    kustomize: Callable[[Path], str],
    image: str | None = None,
    object_store: str | None = None,
) -> OverlayPlan:
    """The plan of an overlay, with MinIO beside it when ``object_store`` is ``minio``.

    Raises:
        OverlayInvalid: the overlay does not exist, or does not support MinIO.
    """
    names = overlay_names(folder)
    if overlay not in names:
        raise OverlayInvalid(f"there is no overlay {overlay!r} in {folder}; it has {', '.join(names) or 'none'}")
    manifests = load(kustomize(folder / _OVERLAYS / overlay))
    if object_store is not None and not _has_minio(manifests):
        manifests += load(kustomize(_store(overlay, folder=folder, object_store=object_store)))
    return OverlayPlan(overlay=overlay, manifests=with_image(manifests, image) if image else manifests)


def _goes_ahead(manifest: Manifest) -> bool:
    return manifest.kind in {"Job", "PersistentVolumeClaim"} and manifest.wave == _WORKLOADS


def _has_minio(manifests: tuple[Manifest, ...]) -> bool:
    return any(manifest.name == MINIO for manifest in of_kind(manifests, "Namespace"))


def _store(overlay: str, *, folder: Path, object_store: str) -> Path:
    if object_store != MINIO:
        raise OverlayInvalid(f"there is no object store {object_store!r}; expected: {MINIO}")
    beside = folder / MINIO / overlay
    if not beside.is_dir():
        raise OverlayInvalid(f"there is no {MINIO} for the overlay {overlay!r}: {beside} is missing")
    return beside
