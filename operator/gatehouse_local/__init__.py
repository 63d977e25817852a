"""A real Kubernetes control plane, an object store and a database on one machine, without containers.

`gatehouse local`, the demo and the tests in `tests/cluster` use this package.
"""
