"""The composition root: the only place that knows every part."""

from __future__ import annotations

from gatehouse.app.operator import run_operator
from gatehouse.app.settings import Settings

__all__ = ["Settings", "run_operator"]
