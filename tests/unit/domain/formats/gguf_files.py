"""GGUF files as the reference writes them."""

from __future__ import annotations

from pathlib import Path

import gguf as gguf_py
import numpy as np


def written(
    folder: Path,
    name: str = "model.gguf",
    *,
    tensors: int = 4,
    kind: str | None = None,
    architecture: str = "llama",
    **options: int | bool,
) -> dict[str, bytes]:
    """The files that gguf-py writes for a small model."""
    folder.mkdir(parents=True, exist_ok=True)
    writer = gguf_py.GGUFWriter(folder / name, architecture, **options)  # type: ignore[arg-type]  # options of several types
    if kind is not None:
        writer.add_type(kind)
    writer.add_block_count(2)
    writer.add_context_length(2048)
    writer.add_embedding_length(64)
    writer.add_head_count(4)
    writer.add_token_list(["<s>", "</s>"])
    for number in range(tensors):
        writer.add_tensor(f"blk.{number}.attn_q.weight", np.ones((4, 64), dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
