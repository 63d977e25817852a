"""A separate process that parses untrusted bytes: the operator bounds its cost and can kill it.

``processes`` is the operator's side, ``worker`` the other side; ``frames`` pass between them. The worker imports the
parsers of the domain and no module that uses a network, a cluster or a database.
"""
