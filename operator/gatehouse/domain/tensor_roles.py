"""What the tensors of a model are for, from their names: which are its parameters, and which no model server loads."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

__all__ = ["Roles", "parameters_of"]

_LAYER: Final = re.compile(r"(?:model\.)?(?:language_model\.)?(?:model\.)?layers\.([0-9]{1,5})\.")
_AHEAD: Final = re.compile(r"(?:model\.)?mtp[._]")
_HEADS: Final = ("lm_head.weight", ".lm_head.weight")
_BESIDE_WEIGHTS: Final = re.compile(
    r"(?:[._](?:weight_)?(?:scales?|scale_inv|scale_2|zeros|qzeros|zero_point|shape|g_idx|global_scale|packed_shape)"
    r"|\.(?:input|output|k|v|q|prob)_scale|\.g_idx|\.(?:nested_)?(?:absmax|quant_map)|\.quant_state\.[^/]*|\.SCB)$"
)
_INTEGERS: Final = frozenset({"U8", "I8", "I16", "U16", "I32", "U32", "I64", "U64"})
"""What packed weights are stored as. Those that are no weights (positions of a BERT) lie in models that are not."""


@dataclass(slots=True)
class Roles:
    """Sums over the tensors of one file.

    ``layers`` are those of the model: tensors of layers beyond are of heads that predict further ahead (MTP), 0 for a
    model without such. ``head_bytes`` is the output head, ``unloaded_bytes`` those layers beyond, ``plain`` elements of
    weights that hold one parameter each, ``packed_bits`` bits of weights that hold as many as they have bits for.
    """

    layers: int = 0
    head_bytes: int = 0
    unloaded_bytes: int = 0
    plain: int = 0
    packed_bits: int = 0

    def add(self, name: str, dtype: str, elements: int, bits: int) -> None:
        """Counts a tensor of ``elements``, which are ``bits`` together."""
        if name.endswith(_HEADS[1]) or name == _HEADS[0]:
            self.head_bytes += bits // 8
        elif self.layers and self._is_ahead(name):
            self.unloaded_bytes += bits // 8
        if _BESIDE_WEIGHTS.search(name):
            return
        if dtype in _INTEGERS:
            self.packed_bits += bits
        else:
            self.plain += elements

    def _is_ahead(self, name: str) -> bool:
        layer = _LAYER.match(name)
        return _AHEAD.match(name) is not None if layer is None else int(layer[1]) >= self.layers


def parameters_of(*, elements: int, plain: int, packed_bits: int, bits: int | None, quantized: bool) -> int | None:
    """Parameters of a model; None where weights are packed, and nothing says how many bits one has."""
    if not quantized:
        return elements
    if not packed_bits:
        return plain
    return None if bits is None else plain + packed_bits // bits
