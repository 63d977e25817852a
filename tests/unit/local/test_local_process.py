from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from gatehouse_local.errors import NotReady, ServerDied
from gatehouse_local.files import exclusive
from gatehouse_local.identity import Identity, end, identify, is_running, parse_started, wait_for_exit
from gatehouse_local.process import Server, Supervisor


def always() -> bool:
    return True


def never() -> bool:
    return False


def shell(script: str, *, ready: Callable[[], bool] = always, seconds: float = 5, name: str = "server") -> Server:
    return Server(name=name, argv=("/bin/sh", "-c", script), ready=ready, ready_seconds=seconds, stop_seconds=seconds)


LONG = "exec /bin/sleep 600"


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    supervisor = Supervisor(run=tmp_path / "run", logs=tmp_path / "logs")
    yield supervisor
    for name in supervisor.records():
        supervisor.stop(name)


def test_a_started_server_is_remembered_until_it_is_stopped(supervisor: Supervisor) -> None:
    assert supervisor.ensure(shell(LONG))
    record = supervisor.records()["server"]
    assert identify(record.identity.pid) == record.identity
    assert os.getsid(record.identity.pid) != os.getsid(0), "it has a session of its own"
    assert supervisor.stop("server")
    assert not record.is_running()
    assert supervisor.records() == {}
    assert not supervisor.stop("server")


def test_a_running_server_is_kept(supervisor: Supervisor) -> None:
    supervisor.ensure(shell(LONG))
    before = supervisor.records()
    assert not supervisor.ensure(shell(LONG))
    assert supervisor.records() == before


@pytest.mark.parametrize(
    "change", [{"argv": ("/bin/sleep", "601")}, {"env": {"A": "b"}}, {"settings": ("another port",)}]
)
def test_a_server_whose_settings_changed_is_restarted(supervisor: Supervisor, change: dict[str, object]) -> None:
    supervisor.ensure(shell(LONG))
    before = supervisor.records()["server"]
    assert supervisor.ensure(replace(shell(LONG), **change))  # type: ignore[arg-type]  # the parameters above
    assert not before.is_running()
    assert supervisor.records()["server"].identity != before.identity


def test_a_server_that_dies_while_starting_shows_the_end_of_its_log(supervisor: Supervisor) -> None:
    with pytest.raises(ServerDied) as died:
        supervisor.ensure(shell("i=0; while [ $i -lt 50 ]; do i=$((i+1)); echo line $i; done; exit 3", ready=never))
    message = str(died.value)
    assert message.endswith("line 49\nline 50")
    assert "line 30" not in message
    assert str(supervisor.log_file("server")) in message


def test_a_program_that_cannot_be_run_is_named(supervisor: Supervisor) -> None:
    with pytest.raises(ServerDied, match="no-such-program"):
        supervisor.ensure(Server(name="server", argv=("/no-such-program",), ready=never))


def test_a_server_that_does_not_answer_in_time_keeps_running(supervisor: Supervisor) -> None:
    with pytest.raises(NotReady, match=r"did not answer within 0 s\. See .*server\.log"):
        supervisor.ensure(shell(LONG, ready=never, seconds=0.1))
    assert supervisor.records()["server"].is_running()


def test_a_server_that_ignores_the_polite_signal_is_killed(supervisor: Supervisor, tmp_path: Path) -> None:
    armed = tmp_path / "armed"
    script = f"trap '' TERM; : >{armed}; while :; do /bin/sleep 0.05; done"
    supervisor.ensure(shell(script, ready=armed.exists, seconds=0.3))
    record = supervisor.records()["server"]
    assert supervisor.stop("server")
    assert not record.is_running()


def test_the_stop_signal_is_remembered(supervisor: Supervisor, tmp_path: Path) -> None:
    ended = tmp_path / "ended"
    armed = tmp_path / "armed"
    # Not HUP or INT: a shell cannot trap what was ignored when it began, as under nohup or in the background.
    script = f"trap 'echo USR1 >{ended}; exit 0' USR1; : >{armed}; while :; do /bin/sleep 0.05; done"
    server = replace(shell(script, ready=armed.exists), stop_signal=signal.SIGUSR1)
    supervisor.ensure(server)
    again = Supervisor(run=tmp_path / "run", logs=tmp_path / "logs")
    assert again.stop("server")
    assert ended.read_text() == "USR1\n"


def test_a_recycled_pid_is_not_killed(supervisor: Supervisor, tmp_path: Path) -> None:
    stranger = subprocess.Popen(["/bin/sleep", "600"])
    try:
        supervisor.ensure(shell(LONG))
        mine = supervisor.records()["server"].identity
        record = tmp_path / "run" / "server.record"
        header, _, stat = record.read_text().split("\n", 2)
        name, _, fields = stat.rpartition(") ")
        long_ago = fields.split()
        long_ago[19] = str(int(long_ago[19]) - 1000)
        record.write_text(f"{header}\n{stranger.pid}\n{name}) {' '.join(long_ago)}\n")
        assert not supervisor.records()["server"].is_running()
        assert not supervisor.stop("server")
        assert stranger.poll() is None
        assert end(mine, polite=signal.SIGTERM, seconds=5)
    finally:
        stranger.kill()
        stranger.wait()


def test_a_process_of_an_earlier_boot_is_nobodys(supervisor: Supervisor, tmp_path: Path) -> None:
    supervisor.ensure(shell(LONG))
    mine = supervisor.records()["server"].identity
    record = tmp_path / "run" / "server.record"
    header, rest = record.read_text().split("\n", 1)
    record.write_text(json.dumps({**json.loads(header), "boot": "another"}) + "\n" + rest)
    assert not supervisor.stop("server")
    assert is_running(mine)
    end(mine, polite=signal.SIGTERM, seconds=5)


@pytest.mark.parametrize("content", ["", "{}", '{"fingerprint": "f", "boot": "b"}\n', "\xff\n\n\n", "{}\n12\n12 (a) S"])
def test_an_unfinished_record_means_nothing_was_started(supervisor: Supervisor, tmp_path: Path, content: str) -> None:
    (tmp_path / "run" / "server.record").write_text(content)
    assert supervisor.records() == {}
    assert not supervisor.stop("server")
    assert list((tmp_path / "run").iterdir()) == []


KILLED_WHILE_STARTING = """
import os, signal, subprocess, sys
from pathlib import Path
from gatehouse_local.files import exclusive
from gatehouse_local.process import Server, Supervisor

def die(self):
    os.kill(os.getpid(), signal.SIGKILL)

subprocess.Popen.wait = die
home = Path(sys.argv[1])
with exclusive(home / "lock", waiting=lambda: None) as lock:
    server = Server(name="server", argv=("/bin/sleep", "600"), ready=lambda: True)
    Supervisor(run=home / "run", logs=home / "logs", lock=lock).start(server)
"""


def test_a_starter_killed_right_after_the_fork_leaves_a_record(tmp_path: Path) -> None:
    for _ in range(10):
        starter = subprocess.run([sys.executable, "-c", KILLED_WHILE_STARTING, str(tmp_path)], check=False)
        assert starter.returncode == -signal.SIGKILL
        with exclusive(tmp_path / "lock", waiting=lambda: None) as lock:
            supervisor = Supervisor(run=tmp_path / "run", logs=tmp_path / "logs", lock=lock)
            assert supervisor.records()["server"].is_running()
            assert supervisor.stop("server")


def test_the_server_does_not_keep_the_lock(tmp_path: Path) -> None:
    waited: list[str] = []
    ready = tmp_path / "ready"  # the shell that starts the server keeps the lock until it becomes the server
    with exclusive(tmp_path / "lock", waiting=lambda: None) as lock:
        supervisor = Supervisor(run=tmp_path / "run", logs=tmp_path / "logs", lock=lock)
        supervisor.ensure(shell(f"touch {ready}; {LONG}", ready=ready.exists))
    with exclusive(tmp_path / "lock", waiting=lambda: waited.append("waited")):
        supervisor.stop("server")
    assert waited == []


def test_a_server_sees_none_of_our_credentials(
    supervisor: Supervisor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "ours")
    monkeypatch.setenv("MINIO_ROOT_USER", "ours")
    seen = tmp_path / "seen"
    server = replace(shell(f"env >{seen}.new; mv {seen}.new {seen}; {LONG}", ready=seen.exists), env={"MINE": "1"})
    supervisor.ensure(server)
    names = {line.partition("=")[0] for line in seen.read_text().splitlines()}
    assert "MINE" in names
    assert not names & {"AWS_SECRET_ACCESS_KEY", "MINIO_ROOT_USER"}


def test_the_previous_log_is_kept(supervisor: Supervisor) -> None:
    log = supervisor.log_file("server")
    for word in ("first", "second"):
        supervisor.ensure(shell(f"echo {word}; {LONG}", ready=lambda: log.read_text() != ""))
    assert log.with_suffix(".previous.log").read_text() == "first\n"


def test_a_process_name_cannot_forge_its_start() -> None:
    honest = "7 (x) S " + " ".join(str(field) for field in range(4, 53))
    forged = "7 (x) S 1 2 3) (y) R " + " ".join(str(field) for field in range(4, 53))
    assert parse_started(honest, boot="b") == parse_started(forged, boot="b") == "22@b"
    assert parse_started("Sat Nov 21 09:00:00 2026\n", boot="b") == "Sat Nov 21 09:00:00 2026"


def test_a_process_that_waits_to_be_reaped_does_not_run() -> None:
    child = subprocess.Popen(["/bin/sh", "-c", "read line"], stdin=subprocess.PIPE)
    identity = identify(child.pid)
    assert identity is not None
    assert not wait_for_exit(identity, seconds=0)
    assert child.stdin is not None
    child.stdin.close()
    assert wait_for_exit(identity, seconds=5)
    assert not is_running(identity)
    assert not end(identity, polite=signal.SIGTERM, seconds=1)
    child.wait()


def test_a_pid_that_never_was_does_not_run() -> None:
    assert identify(2**22 + 1) is None
    assert not end(Identity(2**22 + 1, "never"), polite=signal.SIGTERM, seconds=1)
