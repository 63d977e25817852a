"""A real Kubernetes control plane, an object store and a database on one machine, without containers.

`gatehouse local`, `gatehouse demo` and the tests in `tests/cluster` use this package. `gatehouse` does not import it,
and no wheel contains this package, because it uses the Go modules, the images and the walk of the checkout.
"""

from pathlib import Path
from typing import Final

__all__ = ["CHECKOUT"]

CHECKOUT: Final = Path(__file__).parents[2]
"""The root of the checkout."""
