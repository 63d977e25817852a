"""What the operator's log lines hold."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from gatehouse.app.logs import configure_logging


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers, root.level = handlers, level
    structlog.reset_defaults()


def fail(password: str) -> None:
    raise RuntimeError(f"a password of {len(password)} characters")


@pytest.mark.parametrize("library", ["structlog", "logging"])
def test_a_traceback_is_json_without_the_values_of_variables(capsys: pytest.CaptureFixture[str], library: str) -> None:
    configure_logging("info")
    log = structlog.get_logger("test") if library == "structlog" else logging.getLogger("test")
    try:
        fail("hunter2-hunter2")
    except RuntimeError:
        log.exception("failed")
    [line] = capsys.readouterr().err.splitlines()
    record = json.loads(line)
    assert (record["event"], record["level"], record["logger"]) == ("failed", "error", "test")
    assert record["exception"][0]["frames"][-1]["name"] == "fail"
    assert "hunter2" not in line


def test_a_level_that_there_is_not_is_refused() -> None:
    with pytest.raises(ValueError, match="log level is 'loud', expected debug, info, warning or error"):
        configure_logging("loud")
