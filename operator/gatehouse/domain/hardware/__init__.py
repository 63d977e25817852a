"""What vLLM makes of a model on accelerators: memory, lengths, splits, data types. All pure.

Rule: what is known of vLLM is data (``architectures.json`` here, ``releases.json`` of ``runtimes``), with the releases
that it was held against; modules here only compute with it. ``fit`` judges, the others say what vLLM would take.
"""
