"""In CI no test is skipped, and a test that compares times has the machine to itself."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from discipline import begin

TESTS = Path(__file__).parents[1]
SKIPPING = {
    "called": "import pytest\ndef test_it(): pytest.skip('no server')",
    "fixture": "import pytest\n@pytest.fixture\ndef it(): pytest.skip('no server')\ndef test_it(it): pass",
    "marked": "import pytest\n@pytest.mark.skip(reason='no server')\ndef test_it(): pass",
    "conditional": "import pytest\n@pytest.mark.skipif(True, reason='no server')\ndef test_it(): pass",
    "file": "import pytest\npytest.skip('no server', allow_module_level=True)",
    "import": "import pytest\npytest.importorskip('no_server')",
    "expected": "import pytest\n@pytest.mark.xfail(reason='no server')\ndef test_it(): assert False",
    "unexpected": "import pytest\n@pytest.mark.xfail(reason='no server')\ndef test_it(): pass",
}


def run(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """A run of pytest of its own, with the plugin."""
    kept = {
        name: value for name, value in os.environ.items() if name != "CI" and not name.startswith(("PYTEST", "COV"))
    }
    command = [sys.executable, "-m", "pytest", "-q", "-p", "discipline", "-p", "no:cacheprovider", "--noconftest"]
    return subprocess.run(
        [*command, "--continue-on-collection-errors", "."],
        cwd=folder,
        env={**kept, "PYTHONPATH": str(TESTS), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_sigterm_tears_fixtures_down(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "test_stopped.py").write_text(
        "import os, pathlib, pytest, signal\n"
        "@pytest.fixture(scope='session')\n"
        "def server():\n"
        "    yield\n"
        "    pathlib.Path('torn-down').touch()\n"
        "def test_it(server): os.kill(os.getpid(), signal.SIGTERM); signal.pause()\n"
    )

    stopped = run(tmp_path)

    assert stopped.returncode == pytest.ExitCode.INTERRUPTED, stopped.stdout
    assert (tmp_path / "torn-down").exists()


def test_what_is_skipped_at_home_fails_in_ci(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    for name, text in SKIPPING.items():
        (tmp_path / f"test_{name}.py").write_text(text)
    (tmp_path / "test_passes.py").write_text("def test_it(): pass")

    home = run(tmp_path)
    assert home.returncode == 0, home.stdout
    ci = run(tmp_path, CI="true")
    for name in ("called", "fixture", "marked", "conditional", "expected", "unexpected"):
        assert f"FAILED test_{name}.py::test_it" in ci.stdout or f"ERROR test_{name}.py::test_it" in ci.stdout, (
            ci.stdout
        )
    for name in ("file", "import"):
        assert f"ERROR test_{name}.py" in ci.stdout, ci.stdout
    assert "no server" in ci.stdout
    assert "skipped" not in ci.stdout.splitlines()[-1]
    assert ci.returncode != 0


@pytest.mark.parametrize("alone", [True, False])
def test_who_is_alone_waits_for_the_others_and_the_others_wait_for_it(tmp_path: Path, alone: bool) -> None:
    entered = threading.Event()

    def second() -> None:
        with begin(tmp_path, alone=not alone):
            entered.set()

    other = threading.Thread(target=second)
    with begin(tmp_path, alone=alone):
        other.start()
        assert not entered.wait(0.2)
    assert entered.wait(10)
    other.join()


def test_tests_that_compare_no_times_run_side_by_side(tmp_path: Path) -> None:
    with begin(tmp_path, alone=False), begin(tmp_path, alone=False):
        pass
