"""A process of its own that reads strangers' bytes: what it may cost is bounded, and it can be killed.

The operator's side is ``processes``, the other side ``worker``; ``frames`` is what passes between them. The worker
imports the parsers of the domain and nothing that knows a network, a cluster or a database.
"""
