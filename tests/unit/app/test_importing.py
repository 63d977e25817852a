"""Imports that the garbage collector does not look through."""

from __future__ import annotations

import gc
import subprocess
import sys
from collections.abc import Iterator
from typing import Final

import pytest

from gatehouse.cli.startup import for_good

PACKAGES: Final = frozenset(
    {
        *("aiohappyeyeballs", "aiohttp", "aiohttp_retry", "aiosignal", "annotated_types", "attr", "botocore"),
        *("certifi", "cython_runtime", "dateutil", "frozenlist", "idna", "isal", "iso8601", "jsonpatch"),
        *("jsonpointer", "kopf", "kubernetes", "msgspec", "multidict", "orjson", "prometheus_client", "propcache"),
        *("pydantic", "pydantic_core", "pygments", "pythonjsonlogger", "rich", "six", "sqlalchemy", "structlog"),
        *("typing_extensions", "typing_inspection", "urllib3", "uvloop", "yaml", "yarl"),
    }
)
"""What an idle operator has in memory. Add a package only if every operator needs the package: each costs megabytes."""


@pytest.fixture(autouse=True)
def _thaw() -> Iterator[None]:
    yield
    gc.unfreeze()


def test_what_is_made_within_is_never_looked_at_again() -> None:
    before = gc.get_freeze_count()
    with for_good():
        assert not gc.isenabled()
        made: list[object] = [[] for _ in range(1000)]
    assert gc.isenabled()
    assert gc.get_freeze_count() >= before + len(made)


def test_an_import_that_fails_leaves_the_collector_on() -> None:
    with pytest.raises(ImportError), for_good():
        raise ImportError
    assert gc.isenabled()


_IDLE: Final = """
import sys
before = set(sys.modules)
import gatehouse.app.operator, gatehouse.registry.drivers.sqlite, gatehouse.storage.s3.client
names = {name.partition(".")[0] for name in sys.modules.keys() - before} - sys.stdlib_module_names
print(*(name for name in names if not name.startswith("_")))
"""


def test_an_idle_operator_has_no_package_that_only_some_clusters_need() -> None:
    """Such are CEL, the keys of signatures, drivers of other databases, and clients of the Kubernetes library."""
    started = subprocess.run([sys.executable, "-c", _IDLE], capture_output=True, text=True, check=True, timeout=120)
    assert set(started.stdout.split()) == {"gatehouse", *PACKAGES}
