"""The model of vLLM on accelerators: memory, lengths, splits, data types. All pure.

Rule: knowledge of vLLM is data (``architectures.json`` here, ``releases.json`` of ``runtimes``), with the releases that
the data was checked against. Modules here only compute with the data. ``fit`` judges; the others compute vLLM's values.
"""
