from __future__ import annotations

import stat
import threading
from pathlib import Path

import pytest

from gatehouse_local.files import exclusive, write_private


def test_a_private_file_is_replaced_whole_and_closed_to_others(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("old")
    path.chmod(0o644)
    assert write_private(path, "new") == path
    assert path.read_text() == "new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["secret"]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    target.mkdir()
    (target / "kept").touch()
    with pytest.raises(OSError, match="folder"):
        write_private(target, "x")
    assert [entry.name for entry in tmp_path.iterdir()] == ["folder"]


def test_the_second_to_lock_is_told_and_waits_for_the_first(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    order: list[str] = []
    waiting = threading.Event()

    def second() -> None:
        with exclusive(lock, waiting=waiting.set):
            order.append("second")

    with exclusive(lock, waiting=lambda: None):
        thread = threading.Thread(target=second)
        thread.start()
        assert waiting.wait(10)
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"]


def test_a_lock_file_removed_by_its_holder_is_locked_anew(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    waiting, entered, leave = threading.Event(), threading.Event(), threading.Event()

    def second() -> None:
        with exclusive(lock, waiting=waiting.set):
            entered.set()
            leave.wait(10)

    with exclusive(lock, waiting=lambda: None):
        thread = threading.Thread(target=second)
        thread.start()
        assert waiting.wait(10)
        lock.unlink()
    assert entered.wait(10)
    third_waited = threading.Event()

    def third() -> None:
        with exclusive(lock, waiting=third_waited.set):
            pass

    late = threading.Thread(target=third)
    late.start()
    assert third_waited.wait(10), "the second holds the file that is there now"
    leave.set()
    thread.join(10)
    late.join(10)
