"""The arguments of vLLM's server, as far as the stand-in obeys them. It accepts the others."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Arguments", "parse_arguments"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Arguments:
    """Where the server listens, what it loads, and the names that clients may write into "model"."""

    host: str
    port: int
    model: Path
    served_names: tuple[str, ...]
    max_model_len: int


def parse_arguments(argv: Sequence[str]) -> Arguments:
    """The arguments; of one that is there twice the last counts, as in vLLM.

    Raises:
        SystemExit: an argument is wrong; with the usage on stderr.
    """
    parser = argparse.ArgumentParser(prog="vllm.entrypoints.openai.api_server", allow_abbrev=False)
    parser.add_argument("--host", default="0.0.0.0")  # noqa: S104 - a Pod's own address
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--model", type=Path, default=Path("/mnt/models"))
    parser.add_argument("--served-model-name", nargs="+", default=[])
    parser.add_argument("--max-model-len", type=int, default=4096)
    known, _ = parser.parse_known_args(argv)
    return Arguments(
        host=known.host,
        port=known.port,
        model=known.model,
        served_names=tuple(known.served_model_name) or (str(known.model),),
        max_model_len=known.max_model_len,
    )
