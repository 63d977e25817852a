"""A real Kubernetes control plane, an object store and a database on one machine, without containers.

`gatehouse local`, the demo and the tests in `tests/cluster` all stand on this package. Nothing outside
`gatehouse.local` and `gatehouse.cli` may import it.
"""
