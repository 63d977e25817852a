"""Options of the commands that talk to an object store; what is absent comes from AWS's environment variables."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

__all__ = ["AddressingOption", "EndpointOption", "RegionOption", "RequesterPaysOption", "StoreCaOption"]

EndpointOption = Annotated[
    str | None, typer.Option("--endpoint", metavar="URL", help="S3 endpoint; AWS_ENDPOINT_URL when absent.")
]
RegionOption = Annotated[str | None, typer.Option("--region", help="Region; AWS_DEFAULT_REGION when absent.")]
AddressingOption = Annotated[
    Literal["path", "virtual"] | None,
    typer.Option("--addressing", help="Where the bucket is named: s3.addressing_style of the profile, or the path."),
]
RequesterPaysOption = Annotated[
    bool, typer.Option("--requester-pays", help="Say that you pay for the requests, where the bucket wants it.")
]
StoreCaOption = Annotated[
    Path | None, typer.Option("--ca", metavar="FILE", help="PEM of the store's authority; AWS_CA_BUNDLE when absent.")
]
