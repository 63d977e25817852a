"""Architectures that vLLM serves, as data: how each caches attention, and the defaults of its configuration class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any, Final, Literal

import orjson

__all__ = ["Architecture", "StateKind", "architectures", "defaults_of", "known_architecture", "refused_architectures"]

StateKind = Literal["mamba1", "mamba2", "delta", "conv"]

_NOTHING: Final[Mapping[str, int]] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """How vLLM serves an architecture.

    ``full_every``: every n-th layer sees all tokens and the others a window; 0: all see a window; None: none does.
    ``chunked_but``: all layers but every n-th see chunks of ``attention_chunk_size``. ``latent``: multi-head latent
    attention. ``indexer``: latent attention with keys that choose tokens. ``state`` is the kind of state that layers
    keep beside or instead of a cache, ``attention`` whether other layers have attention, ``both`` whether one layer may
    have both. ``encoder``: no cache at all. ``cross``: each layer also keeps the encoder's keys and values.
    ``pooling``: made for embeddings or scores. ``multimodal``: images or sound take memory too. ``multi_query``: one KV
    head unless the configuration says otherwise. ``kv_heads_copied``: KV heads may be fewer than accelerators.
    ``gated``: the feed-forward layer has three matrices. ``wraps``: the language part is another architecture, which
    its model type identifies. ``shape`` names how :mod:`gatehouse.domain.hardware.matrices` sums the matrices of an
    uncommon architecture. ``positions``: the model has a learned embedding of positions. ``tower`` is the kind of its
    image encoder. ``after`` is the newest release that was seen to refuse the architecture, ``until`` the newest that
    loads it, as minor numbers.
    """

    name: str
    full_every: int | None = None
    chunked_but: int | None = None
    latent: bool = False
    indexer: bool = False
    state: StateKind | None = None
    attention: bool = True
    both: bool = False
    encoder: bool = False
    cross: bool = False
    pooling: bool = False
    multimodal: bool = False
    multi_query: bool = False
    kv_heads_copied: bool = True
    gated: bool = True
    wraps: bool = False
    shape: str | None = None
    positions: bool = False
    tower: str | None = None
    after: int | None = None
    until: int | None = None

    @property
    def is_plain(self) -> bool:
        """Whether layers keep only keys and values, of all tokens or of a window."""
        return not (self.state or self.cross or self.latent or self.chunked_but)


@dataclass(frozen=True, slots=True)
class _Table:
    architectures: Mapping[str, Architecture]
    refused: frozenset[str]
    texts: Mapping[str, str]
    defaults: Mapping[str, Mapping[str, int]]


_FIELDS: Final = MappingProxyType(
    {
        "fullEvery": "full_every",
        "chunkedBut": "chunked_but",
        "multiQuery": "multi_query",
        "kvHeadsCopied": "kv_heads_copied",
    }
)


@lru_cache(maxsize=1)
def _table() -> _Table:
    document = orjson.loads((files("gatehouse.domain.hardware") / "architectures.json").read_bytes())
    return _Table(
        architectures=MappingProxyType(
            {name: _architecture(name, said) for name, said in document["architectures"].items()}
        ),
        refused=frozenset(document["refused"]),
        texts=MappingProxyType(document["textArchitectures"]),
        defaults=MappingProxyType(document["defaults"]),
    )


def _architecture(name: str, said: Mapping[str, Any]) -> Architecture:
    fields = {_FIELDS.get(key, key): value for key, value in said.items()}
    for bound in ("after", "until"):
        if bound in fields:
            fields[bound] = int(fields[bound].partition(".")[2])
    return Architecture(name=name, **fields)


def architectures() -> Mapping[str, Architecture]:
    """All known architectures, by the class name that config.json has in ``architectures``."""
    return _table().architectures


def known_architecture(name: str, *, text_model_type: str | None) -> tuple[Architecture, Architecture] | None:
    """The architecture and that of its language part (mostly the same); None when either is unknown."""
    table = _table()
    whole = table.architectures.get(name)
    if whole is None or not whole.wraps or text_model_type is None:
        return None if whole is None else (whole, whole)
    text = table.architectures.get(table.texts.get(text_model_type, ""))
    return None if text is None else (whole, text)


def defaults_of(*model_types: str | None) -> Mapping[str, int]:
    """The defaults that the configuration class of the first known model type sets where config.json has no value."""
    defaults = _table().defaults
    return next((defaults[each] for each in model_types if each is not None and each in defaults), _NOTHING)


def refused_architectures() -> frozenset[str]:
    """Architectures that none of the tested releases loads."""
    return _table().refused
