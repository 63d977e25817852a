"""Container images: what enters them, what keys them, which program builds them, and what it is told."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatehouse import __version__
from gatehouse_local.errors import BuildFailed, LocalClusterError, ProgramMissing
from gatehouse_local.images.builders import Build, Buildah, Docker, find_builder
from gatehouse_local.images.host import build_environment, build_secrets, debian_sources, mirror_of
from gatehouse_local.images.images import Images, load
from gatehouse_local.images.recipes import BASE_IMAGE, RECIPES, allowed, context_files, key_of, recipe

ROOT = Path(__file__).parents[3]
# Programs of the system that the stand-ins for docker and the like call.
SYSTEM = "/usr/bin:/bin"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A project of a few files."""
    root = tmp_path / "tree"
    for name in ("Dockerfile", "code/a.py", "code/__pycache__/a.pyc", "code/deep/b.sh", "docs/x.md"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    return root


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of stand-ins, the only one on the PATH besides the system's."""
    folder = tmp_path / "programs"
    folder.mkdir()
    monkeypatch.setattr("gatehouse_local.images.commands._FOLDERS", ())
    monkeypatch.setenv("PATH", str(folder))
    return folder


def stand_in(folder: Path, name: str, script: str = "exit 0") -> None:
    """A program that writes down how it was called, and then does as the script says."""
    path = folder / name
    calls = shlex.quote(str(folder / f"{name}.calls"))
    path.write_text(f'#!/bin/sh\nPATH={SYSTEM}\nprintf "%s\\n" "$*" >> {calls}\n{script}\n')
    path.chmod(0o755)


def calls(folder: Path, name: str) -> list[str]:
    """How a stand-in was called, in order."""
    return (folder / f"{name}.calls").read_text().splitlines()


def key(root: Path, *entries: str, name: str = "pause", machine: str = "x86_64") -> str:
    files = list(context_files(root, entries=entries))
    return key_of(recipe(name), root=root, files=files, machine=machine)


def test_the_context_is_what_the_ignore_file_lets_through_and_no_caches(tree: Path) -> None:
    entries = allowed("# only this\n*\n!Dockerfile\n!code\n!absent\n**/*.pyc\n")

    assert entries == ("Dockerfile", "code", "absent")
    assert list(context_files(tree, entries=entries)) == [
        PurePosixPath("Dockerfile"),
        PurePosixPath("code/a.py"),
        PurePosixPath("code/deep/b.sh"),
    ]


def test_the_key_follows_contents_names_and_modes_but_not_times(tree: Path) -> None:
    first = key(tree, "code")
    os.utime(tree / "code/a.py", (1, 1))
    assert key(tree, "code") == first

    seen = {first}
    (tree / "code/deep/b.sh").chmod(0o755)
    seen.add(key(tree, "code"))
    (tree / "code/a.py").write_text("changed")
    seen.add(key(tree, "code"))
    (tree / "code/a.py").rename(tree / "code/c.py")
    seen.add(key(tree, "code"))
    seen.add(key(tree, "code", machine="aarch64"))
    seen.add(key(tree, "code", name="minio"))
    assert len(seen) == 6


def test_what_does_not_enter_does_not_change_the_key(tree: Path) -> None:
    first = key(tree, "code")
    (tree / "docs/x.md").write_text("changed")
    (tree / "code/__pycache__/a.pyc").write_text("changed")

    assert key(tree, "code") == first


def test_every_image_has_a_dockerfile_whose_base_is_an_argument() -> None:
    for each in RECIPES.values():
        text = (ROOT / each.context / "Dockerfile").read_text()
        assert bool(re.search(r"^ARG BASE=", text, re.MULTILINE)) == each.based
        stages = re.findall(r"^FROM \S+ AS (\S+)", text, re.MULTILINE)
        assert each.stage is None or each.stage in stages


def test_the_dockerfile_agrees_with_the_project() -> None:
    text = (ROOT / "Dockerfile").read_text()
    makefile = (ROOT / "Makefile").read_text()
    pinned = re.search(r"^UV_VERSION := (\S+)", makefile, re.MULTILINE)

    assert pinned is not None
    assert f"ARG UV_VERSION={pinned[1]}\n" in text
    assert f"ARG VERSION={__version__}\n" in text
    assert f"ARG BASE={BASE_IMAGE}\n" in text


def test_an_unknown_image_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(LocalClusterError, match=r"^redis is not an image of Gatehouse; expected one of gatehouse, "):
        Images(cache=tmp_path).obtain(["redis"])


def test_without_a_builder_it_says_what_to_install(programs: Path, tmp_path: Path) -> None:
    with pytest.raises(ProgramMissing, match="apt-get install buildah"):
        find_builder(tmp_path)


def test_a_docker_without_its_daemon_is_passed_over(programs: Path, tmp_path: Path) -> None:
    stand_in(programs, "docker", "echo 'Cannot connect to the Docker daemon' >&2; exit 1")
    stand_in(programs, "podman")

    assert find_builder(tmp_path).name == "podman"


def test_docker_is_asked_first(programs: Path, tmp_path: Path) -> None:
    stand_in(programs, "docker")
    stand_in(programs, "podman")

    assert find_builder(tmp_path).name == "docker"
    assert not (programs / "podman.calls").exists()


def test_buildah_takes_whole_copies_where_overlay_does_not_work(programs: Path, tmp_path: Path) -> None:
    stand_in(programs, "buildah", 'case "$*" in *storage-driver=overlay*) exit 1;; esac')

    Buildah(tmp_path).save("localhost/x:1", tmp_path / "x.tar")
    assert "--storage-driver=vfs push --quiet localhost/x:1" in calls(programs, "buildah")[-1]


def test_buildah_that_does_not_run_is_an_error(programs: Path, tmp_path: Path) -> None:
    stand_in(programs, "buildah", "exit 1")

    with pytest.raises(BuildFailed, match="buildah does not run here"):
        Buildah(tmp_path)


def test_a_failed_build_shows_the_end_of_what_was_said(programs: Path, tmp_path: Path) -> None:
    stand_in(programs, "docker", "seq 100; echo 'no space left' >&2; exit 3")
    build = Build(context=tmp_path, reference="localhost/x:1", base=None, secrets={})
    with (tmp_path / "lock").open("w") as lock, pytest.raises(BuildFailed) as caught:
        Docker("docker").build(build, lock=lock.fileno())

    assert str(caught.value).startswith("building localhost/x:1 with docker failed with exit code 3:\n77\n")
    assert str(caught.value).endswith("no space left")


def saving_docker(folder: Path, *, registry: bool) -> None:
    """A docker with or without a registry that saves an empty archive."""
    stand_in(
        folder,
        "docker",
        f"""case "$1" in
image) exit 1 ;;
pull) exit {0 if registry else 1} ;;
save) touch "${{2#--output=}}" ;;
esac""",
    )


def test_where_a_registry_answers_the_base_is_its(programs: Path, tmp_path: Path) -> None:
    saving_docker(programs, registry=True)
    archive = Images(cache=tmp_path, environ={}).obtain(["mariadb"])["mariadb"]

    builds = [call for call in calls(programs, "docker") if call.startswith("build ")]
    assert archive.is_file()
    assert len(builds) == 1
    assert f"--build-arg=BASE={BASE_IMAGE}" in builds[0]
    assert "--tag=docker.io/library/mariadb:10.11" in builds[0]


def test_the_second_time_nothing_is_called(programs: Path, tmp_path: Path) -> None:
    saving_docker(programs, registry=True)
    first = Images(cache=tmp_path, environ={}).obtain(["mariadb", "postgres"])
    before = calls(programs, "docker")

    assert Images(cache=tmp_path, environ={}).obtain(["postgres", "mariadb"]) == first
    assert calls(programs, "docker") == before


def test_where_no_registry_answers_debootstrap_is_wanted_by_its_package(programs: Path, tmp_path: Path) -> None:
    saving_docker(programs, registry=False)

    with pytest.raises(ProgramMissing, match=r"debootstrap is not on the PATH.*apt-get install debootstrap"):
        Images(cache=tmp_path, environ={}).obtain(["mariadb"])
    assert list((tmp_path / "images").glob("*.tar")) == []
    assert list((tmp_path / "images").glob(".unfinished-*")) == []


def test_without_a_compiler_pause_says_which_package_has_it(programs: Path, tmp_path: Path) -> None:
    saving_docker(programs, registry=False)

    with pytest.raises(ProgramMissing, match=r"gcc is not on the PATH.*apt-get install gcc libc6-dev"):
        Images(cache=tmp_path, environ={}).obtain(["pause"])


def test_what_an_earlier_run_left_unfinished_goes(programs: Path, tmp_path: Path) -> None:
    saving_docker(programs, registry=True)
    leftover = tmp_path / "images" / ".unfinished-abc"
    leftover.mkdir(parents=True)
    Images(cache=tmp_path, environ={}).obtain(["mariadb"])

    assert not leftover.exists()


def test_of_older_archives_one_is_kept(programs: Path, tmp_path: Path) -> None:
    saving_docker(programs, registry=True)
    folder = tmp_path / "images"
    folder.mkdir()
    for age, name in enumerate(("mariadb-newer.tar", "mariadb-older.tar", "postgres-other.tar")):
        (folder / name).touch()
        os.utime(folder / name, (1000 - age, 1000 - age))
    made = Images(cache=tmp_path, environ={}).obtain(["mariadb"])["mariadb"]

    assert {path.name for path in folder.glob("*.tar")} == {made.name, "mariadb-newer.tar", "postgres-other.tar"}


def test_loading_names_the_node_that_does_not_run(programs: Path, tmp_path: Path) -> None:
    stand_in(programs, "ctr")

    with pytest.raises(LocalClusterError, match=r"There is no containerd at .*gatehouse local up --node"):
        load(tmp_path / "x.tar", address=tmp_path / "containerd.sock")


def test_loading_says_why_containerd_refused(programs: Path, tmp_path: Path) -> None:
    stand_in(programs, "ctr", "echo 'unrecognized image format' >&2; exit 1")
    (tmp_path / "containerd.sock").touch()

    with pytest.raises(BuildFailed, match=r"loading x\.tar into containerd(.|\n)*unrecognized image format"):
        load(tmp_path / "x.tar", address=tmp_path / "containerd.sock")


SETTING = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=40)


@given(value=SETTING)
def test_any_setting_passes_through_the_shell_unchanged(value: str) -> None:
    script = build_environment({"PIP_INDEX_URL": value}, pip_settings={}, bundle=False)
    said = subprocess.run(["/bin/sh", "-c", f'{script}printf "%s" "$PIP_INDEX_URL"'], capture_output=True, check=True)

    assert said.stdout.decode() == value


def test_only_settings_that_name_an_address_or_a_time_are_handed_on() -> None:
    environ = {
        "PIP_INDEX_URL": "https://index.example/simple",
        "UV_DEFAULT_INDEX": "https://index.example/simple",
        "https_proxy": "http://proxy.example:3128",
        "PIP_FIND_LINKS": "/opt/wheels",
        "UV_CACHE_DIR": "/root/.cache",
        "HOME": "/root",
    }
    script = build_environment(environ, pip_settings={"timeout": "9", "cert": "/x", "trusted-host": "a"}, bundle=True)

    assert [line.partition("=")[0].removeprefix("export ") for line in script.splitlines()] == [
        "PIP_CERT",
        "PIP_INDEX_URL",
        "PIP_TRUSTED_HOST",
        "REQUESTS_CA_BUNDLE",
        "SSL_CERT_FILE",
        "UV_DEFAULT_INDEX",
        "https_proxy",
    ]
    assert "export SSL_CERT_FILE=/run/secrets/ca-bundle\n" in script


def test_secrets_are_files_that_only_their_owner_reads(tmp_path: Path) -> None:
    settings = tmp_path / "pip.conf"
    settings.write_text("[global]\nindex-url = https://me:secret%40word@index.example/simple\n")
    (tmp_path / "secrets").mkdir()
    secrets = build_secrets(tmp_path / "secrets", environ={"PIP_CONFIG_FILE": str(settings), "SSL_CERT_FILE": "/none"})

    assert "ca-bundle" not in secrets
    assert "https://me:secret%40word@index.example/simple" in secrets["build-env"].read_text()
    assert secrets["build-env"].stat().st_mode & 0o777 == 0o600


def test_the_sources_are_those_of_the_suite_on_this_machine() -> None:
    printed = (
        "http://mirror.example/debian/ bookworm main\n"
        "http://mirror.example/debian/ bookworm-updates main\n"
        "http://mirror.example/debian/ bookworm contrib\n"
        "http://mirror.example/debian-security/ bookworm-security main\n"
        "https://download.docker.com/linux/ubuntu noble stable\n"
        "http://mirror.example/debian/ trixie main\n"
        "nonsense\n"
    )
    sources = debian_sources(printed)

    assert sources == (
        "deb http://mirror.example/debian/ bookworm main",
        "deb http://mirror.example/debian/ bookworm-updates main",
        "deb http://mirror.example/debian-security/ bookworm-security main",
    )
    assert mirror_of(sources) == "http://mirror.example/debian/"


@given(printed=st.text())
def test_a_machine_without_sources_of_the_suite_takes_debians_own(printed: str) -> None:
    sources = debian_sources(printed)

    assert all(source.startswith("deb ") for source in sources)
    assert mirror_of(sources).strip()
    assert debian_sources("") == ("deb http://deb.debian.org/debian bookworm main",)
