"""`gatehouse local image`: builds the container images of a local node and loads them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from gatehouse.printing import stderr, stdout
from gatehouse_local.errors import LocalClusterError, NotUp
from gatehouse_local.images.recipes import RECIPES

if TYPE_CHECKING:
    from gatehouse_local.cluster import LocalCluster

__all__ = ["image"]


def image(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME]...", help=f"Images to build: {', '.join(RECIPES)}. Default: gatehouse."),
    ] = None,
    directory: Annotated[
        Path | None,
        typer.Option(
            "--dir", metavar="DIR", help="Folder of the cluster's data. Default: the state folder of the user."
        ),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Build all images.")] = False,
    no_load: Annotated[bool, typer.Option("--no-load", help="Only build; load nothing into the node.")] = False,
    output: Annotated[Literal["table", "json"], typer.Option("--output", "-o", help="Format of the output.")] = "table",
) -> None:
    """Build container images and load them into the node of the local cluster.

    An image is built with docker, podman or buildah, whichever works, when none of the same source is in the cache.
    Where no image registry answers, the base image is made from Debian's packages.

    Examples:

      gatehouse local image

      gatehouse local image mariadb minio --no-load -o json

    Exit codes: 0 success, 1 condition not met: an image could not be built or loaded, 2 error: wrong usage.
    """
    from gatehouse.printing.progress import ConsoleProgress
    from gatehouse_local.cluster import LocalCluster
    from gatehouse_local.images.images import Images, load

    chosen = tuple(RECIPES) if every else tuple(dict.fromkeys(names or ("gatehouse",)))
    try:
        with ConsoleProgress() as progress:
            # Checked first, so that a missing node is reported before a build.
            address = None if no_load else _containerd(LocalCluster(directory, progress=progress))
            archives = Images(progress=progress).obtain(chosen)
            if address is not None:
                for name, archive in archives.items():
                    with progress.step(f"loading {RECIPES[name].reference} into the node"):
                        load(archive, address=address)
    except (LocalClusterError, OSError) as error:
        stderr().labelled("gatehouse local", str(error))
        raise typer.Exit(1) from error
    rows = [
        {
            "name": name,
            "image": RECIPES[name].reference,
            "archive": str(archive),
            "bytes": archive.stat().st_size,
            "loaded": not no_load,
        }
        for name, archive in archives.items()
    ]
    if output == "json":
        stdout().data(rows)
    else:
        for row in rows:
            stdout().line(f"{row['image']}  {row['archive']}")


def _containerd(cluster: LocalCluster) -> Path:
    address = cluster.containerd_address()
    if address is None:
        raise NotUp(
            f"The cluster in {cluster.directory} has no running node to load images into. "
            "Start one with: gatehouse local up --node; or only build, with --no-load."
        )
    return address
