from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import make_url

from gatehouse_local.databases import LocalDatabase, find_program, home_for, initialise
from gatehouse_local.errors import LocalClusterError, ProgramMissing
from gatehouse_local.files import make_traversable
from gatehouse_local.process import Account


def test_a_missing_program_names_the_package(tmp_path: Path) -> None:
    with pytest.raises(ProgramMissing, match=r"mariadbd is neither on the PATH.*apt-get install mariadb-server"):
        find_program("mariadbd", package="mariadb-server", folders=[tmp_path], environ={"PATH": str(tmp_path)})


def test_a_program_is_found_where_debian_keeps_it(tmp_path: Path) -> None:
    program = tmp_path / "15" / "initdb"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    assert find_program("initdb", package="p", folders=[program.parent], environ={"PATH": "/nowhere"}) == program


def test_the_url_quotes_what_it_holds_and_repr_hides_it() -> None:
    database = LocalDatabase(kind="postgres", port=5, username="u@x", password="a/b:c@d")
    url = make_url(database.url)
    assert (url.username, url.password, url.host, url.port) == ("u@x", "a/b:c@d", "127.0.0.1", 5)
    assert "a/b" not in repr(database)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield make_traversable(Path(folder))


def test_data_goes_elsewhere_only_where_the_account_cannot_enter(open_folder: Path) -> None:
    account = Account("mysql", os.getuid() + 1, os.getgid() + 1)
    closed = open_folder / "closed"
    closed.mkdir(mode=0o700)
    assert home_for(open_folder / "mariadb", account) == open_folder / "mariadb"
    assert home_for(closed / "mariadb", None) == closed / "mariadb"
    elsewhere = home_for(closed / "mariadb", account)
    assert elsewhere.parent == Path("/var/lib/gatehouse-local")
    assert elsewhere == home_for(closed / "mariadb", account)
    assert elsewhere != home_for(closed / "other" / "mariadb", account)


def test_a_failing_installer_is_quoted() -> None:
    with pytest.raises(LocalClusterError, match=r"sh failed with exit code 3:\nno space"):
        initialise(("/bin/sh", "-c", "echo no space >&2; exit 3"), account=None, lock=None)
