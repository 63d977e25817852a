"""Runs a health script as Argo CD does: Lua 5.1, the base and table libraries, one second, and a checked answer.

Argo CD's own interpreter is gopher-lua without the string, math, io and debug libraries; strings have no methods there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from lupa import lua51

from gatehouse.install.shipped_files import shipped

__all__ = ["HEALTH", "Health", "HealthTest", "ScriptError", "health", "health_tests", "run", "script"]

HEALTH = shipped("gitops/argocd/health/gatehouse.dev")
STATUSES = {"Healthy", "Progressing", "Degraded", "Suspended", "Missing", "Unknown"}
INSTRUCTIONS = 1_000_000
"""Far more than any of our scripts takes, and far less than Argo CD's second."""
BASE = (
    *("_G", "_VERSION", "assert", "error", "getmetatable", "ipairs", "next", "pairs", "pcall", "rawequal", "rawget"),
    *("rawset", "select", "setmetatable", "table", "tonumber", "tostring", "type", "unpack", "xpcall"),
)
SANDBOX = """
local base = ...
getmetatable("").__index = nil
debug.sethook(function() error("the script does not end") end, "", %d)
for name in pairs(_G) do
  if not base[name] then _G[name] = nil end
end
"""


class ScriptError(Exception):
    """Argo CD would show the object as Unknown."""


@dataclass(frozen=True, slots=True)
class Health:
    """What Argo CD shows of an object."""

    status: str
    message: str


@dataclass(frozen=True, slots=True)
class HealthTest:
    """One entry of a ``health_test.yaml``, in Argo CD's own format."""

    kind: str
    path: str
    health: Health

    @property
    def body(self) -> dict[str, Any]:
        """The object of the test data."""
        loaded: dict[str, Any] = yaml.safe_load((HEALTH / self.kind / self.path).read_text())
        return loaded


@cache
def script(kind: str) -> str:
    """The health script of a kind."""
    return (HEALTH / kind / "health.lua").read_text()


def health(body: Mapping[str, Any]) -> Health:
    """What Argo CD shows of an object of ours."""
    return run(script(body["kind"]), body)


def run(source: str, body: Mapping[str, Any]) -> Health:
    """Runs a script on an object.

    :raises ScriptError: the script fails, does not end, or answers something else than a health.
    """
    runtime = lua51.LuaRuntime(register_eval=False, register_builtins=False)
    try:
        runtime.execute(SANDBOX % INSTRUCTIONS, runtime.table_from(dict.fromkeys(BASE, True)))
        runtime.globals()["obj"] = runtime.table_from(body, recursive=True)
        answer = runtime.execute(source)
    except lua51.LuaError as error:
        raise ScriptError(str(error)) from error
    if lua51.lua_type(answer) != "table":
        raise ScriptError(f"expect table output from Lua script, not {answer!r}")
    found = dict(answer.items())
    if found.keys() - {"status", "message"} or found.get("status") not in STATUSES:
        raise ScriptError(f"Lua returned an invalid health status: {found}")
    message = found.get("message", "")
    if not isinstance(message, str):
        raise ScriptError(f"message is no string: {message!r}")
    return Health(found["status"], message)


def health_tests() -> list[HealthTest]:
    """Every entry of every ``health_test.yaml``."""
    return [
        HealthTest(
            folder.name,
            entry["inputPath"],
            Health(entry["healthStatus"]["status"], entry["healthStatus"]["message"]),
        )
        for folder in kinds()
        for entry in yaml.safe_load((folder / "health_test.yaml").read_text())["tests"]
    ]


def kinds() -> list[Path]:
    """The folder of each kind."""
    return sorted(path for path in HEALTH.iterdir() if path.is_dir())
