"""Gatehouse's writes to Kubernetes, and its reads of Secrets."""

import sys
from importlib.machinery import ModuleSpec
from importlib.util import find_spec, module_from_spec
from types import ModuleType
from typing import cast


def _unexecuted(name: str) -> ModuleType:
    module = module_from_spec(cast("ModuleSpec", find_spec(name)))
    sys.modules[name] = module
    return module


# Gatehouse uses the configuration of `kubernetes.aio`, and no client of the library. Both packages import all clients
# when they execute: 9 MiB and a tenth of a second. The import system needs only their folders, so neither executes.
if "kubernetes" not in sys.modules:
    _parent = _unexecuted("kubernetes")
    vars(_parent)["aio"] = _unexecuted("kubernetes.aio")
