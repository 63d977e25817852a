"""The commands start from bytecode, also where Python may not write any, as in many CI images."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[3]

_WITHOUT_BYTECODE: Final = """
import sys
from pathlib import Path
import gatehouse.actions.explanation, gatehouse.cli.run, gatehouse.app.operator
for name, module in sorted(sys.modules.items()):
    kept = getattr(module, "__cached__", None)
    source = getattr(module, "__file__", None) or ""
    if kept and source.endswith(".py") and sys.prefix in source and not Path(kept).exists():
        print(name)
"""


def test_make_install_left_bytecode_of_every_module_that_a_command_loads() -> None:
    said = subprocess.run(
        (sys.executable, "-c", _WITHOUT_BYTECODE),
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=True,
    )

    assert said.stdout == ""


def test_make_install_compiles_what_uv_installs_and_what_it_only_links_to() -> None:
    recipe = subprocess.run(
        ("make", "--dry-run", "--always-make", "install"), cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout

    [synced] = [line for line in recipe.splitlines() if " sync " in line]
    assert "--compile-bytecode" in synced
    assert "-m compileall -q operator" in recipe
