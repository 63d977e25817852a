"""Files beside ``config.json``: configurations of tokenizers, generation and processors, and the facts that they add.

These files decide nothing about the fit, and loaders accept most malformed members in them. A malformed member is
therefore named and left out. Whether a file names code to run is decided strictly, over every byte.

Only files at the top of the artifact count, because vLLM reads those.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from gatehouse.domain.artifact import model_config
from gatehouse.domain.artifact.model_config import ModelConfig, invalid
from gatehouse.domain.artifact.quantization import Quantization, read_quantization_file
from gatehouse.domain.common import bounded_json
from gatehouse.domain.common.bounded_json import JsonValue
from gatehouse.domain.common.format_error import FormatError

__all__ = [
    "QUANTIZATION_FILES",
    "SENTENCE_FILES",
    "NamesCode",
    "SideFacts",
    "read",
    "read_document",
    "read_side_facts",
    "with_side_facts",
]

_WHAT = "the configuration"


@dataclass(frozen=True, slots=True, kw_only=True)
class NamesCode:
    """Whether a configuration names code to run. ``odd`` describes the malformed JSON in it, if any."""

    names_code: bool
    odd: str | None = None


def read(data: bytes) -> NamesCode:
    """Whether a configuration names code. Raises FormatError as :func:`read_document`."""
    return read_document(data)[1]


def read_document(data: bytes) -> tuple[dict[str, JsonValue], NamesCode]:
    """Read a configuration; malformed members are not in the document.

    Raises FormatError with the rule ConfigInvalid for a file that is no JSON object, and the errors of
    `bounded_json.loads_leniently`.
    """
    try:
        document = model_config.document(data, _WHAT)
        return document, NamesCode(names_code=model_config.names_code(document))
    except FormatError:
        lenient, odd = bounded_json.loads_leniently(data, what=_WHAT, max_bytes=model_config.MAX_CONFIG)
    if not isinstance(lenient, dict):
        raise invalid(_WHAT, lenient, "a JSON object")
    # Over all bytes, not over the document: a loader may read a member that the document leaves out.
    return lenient, NamesCode(names_code=model_config.mentions_remote_code(data), odd="; ".join(odd) or None)


SENTENCE_FILES: Final = (
    "sentence_bert_config.json",
    "sentence_roberta_config.json",
    "sentence_distilbert_config.json",
    "sentence_camembert_config.json",
    "sentence_albert_config.json",
    "sentence_xlm-roberta_config.json",
    "sentence_xlnet_config.json",
)
"""In the order in which vLLM searches for one (``transformers_utils/config.py``)."""
QUANTIZATION_FILES: Final = ("hf_quant_config.json", "quantize_config.json", "quant_config.json")
_TOKENIZER: Final = "tokenizer_config.json"
_LONGEST: Final = 10_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class SideFacts:
    """The facts of one side file. ``names_code``: the file names code to run; ``odd`` describes malformed members."""

    names_code: bool = False
    odd: str | None = None
    tokenizer_max_length: int | None = None
    sentence_max_length: int | None = None
    quantization: Mapping[str, Any] | None = None


def read_side_facts(name: str, data: bytes) -> SideFacts:
    """Read the file of that name. Raises FormatError as :func:`gatehouse.domain.artifact.side_files.read_document`."""
    document, named = read_document(data)
    facts = SideFacts(names_code=named.names_code, odd=named.odd)
    if name == _TOKENIZER:
        return replace(facts, tokenizer_max_length=_length(document.get("model_max_length")))
    if name in SENTENCE_FILES:
        # vLLM accepts a file as one of these only with both.
        both = "max_seq_length" in document and "do_lower_case" in document
        return replace(facts, sentence_max_length=_length(document["max_seq_length"]) if both else None)
    quantization = read_quantization_file(name, document) if name in QUANTIZATION_FILES else None
    return replace(facts, quantization=None if quantization is None else model_config.said(quantization))


def with_side_facts(config: ModelConfig, facts: Mapping[str, SideFacts]) -> ModelConfig:
    """The configuration with the facts that the files of ``facts`` add; config.json takes precedence."""
    lengths = (facts[name].sentence_max_length for name in SENTENCE_FILES if name in facts)
    said = (facts[name].quantization for name in QUANTIZATION_FILES if name in facts)
    quantization = config.quantization or next((_quantization(stated) for stated in said if stated is not None), None)
    tokenizer = facts.get(_TOKENIZER)
    return replace(
        config,
        quantization=quantization,
        tokenizer_max_length=None if tokenizer is None else tokenizer.tokenizer_max_length,
        sentence_max_length=next((length for length in lengths if length is not None), None),
    )


def _quantization(said: Mapping[str, Any]) -> Quantization:
    block = said.get("block")
    return Quantization(**{**said, **({"block": (block[0], block[1])} if block else {})})


def _length(value: JsonValue) -> int | None:
    """A tokenizer's length; tokenizers without one have a number of 30 digits, with or without a fraction."""
    return value if type(value) is int and 0 < value <= _LONGEST else None
