"""Settings of the whole test run."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

# Times on a shared machine say nothing about the code, so no example has a deadline.
settings.register_profile("gatehouse", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("gatehouse")

pytest_plugins = ["discipline"]
