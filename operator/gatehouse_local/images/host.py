"""This machine's settings with which a build reaches packages, passed as secrets that no layer keeps."""

from __future__ import annotations

import configparser
import os
import platform
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from gatehouse_local.files import write_private

__all__ = ["DEBIAN_MIRROR", "DEBIAN_SUITE", "build_environment", "build_secrets", "debian_sources", "mirror_of"]

DEBIAN_SUITE = "bookworm"
DEBIAN_MIRROR = "http://deb.debian.org/debian"
_SECRETS = "/run/secrets"
_PREFIXES = ("PIP_", "UV_")
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY")
# Settings of pip and uv that name a URL; other settings name folders and programs of this machine.
_INDEX_SETTINGS = frozenset({"INDEX_URL", "EXTRA_INDEX_URL", "DEFAULT_INDEX", "INDEX", "TRUSTED_HOST", "INSECURE_HOST"})
_TIMEOUTS = frozenset({"DEFAULT_TIMEOUT", "HTTP_TIMEOUT", "RETRIES", "HTTP_RETRIES"})
_CA_VARIABLES = ("SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE")
_CA_BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
_PIP_FILES = (Path("/etc/pip.conf"), Path("~/.config/pip/pip.conf"), Path("~/.pip/pip.conf"))


def build_environment(environ: Mapping[str, str], *, pip_settings: Mapping[str, str], bundle: bool) -> str:
    """The shell script `build-env`: package indexes, proxies and, with `bundle`, the path of the certificates.

    Args:
        environ: the variables of this process.
        pip_settings: the section `global` of pip's configuration file; variables override the section.
    """
    exported = {
        f"PIP_{name.upper().replace('-', '_')}": value
        for name, value in pip_settings.items()
        if name.upper().replace("-", "_") in _INDEX_SETTINGS | _TIMEOUTS
    }
    for name, value in environ.items():
        setting = next((name.removeprefix(prefix) for prefix in _PREFIXES if name.startswith(prefix)), "")
        if setting in _INDEX_SETTINGS | _TIMEOUTS or name.upper() in _PROXIES:
            exported[name] = value
    if bundle:
        exported.update(dict.fromkeys(_CA_VARIABLES, f"{_SECRETS}/ca-bundle"))
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in sorted(exported.items()))


def debian_sources(index_targets: str) -> tuple[str, ...]:
    """The machine's sources of Debian's suite, from the output of `apt-get indextargets`; the mirror if none."""
    targets = [fields for fields in map(str.split, index_targets.splitlines()) if len(fields) == 3]
    found = [
        f"deb {uri} {release} {component}"
        for uri, release, component in targets
        if release.partition("-")[0] == DEBIAN_SUITE and component == "main" and "debian" in uri
    ]
    return tuple(dict.fromkeys(found)) or (f"deb {DEBIAN_MIRROR} {DEBIAN_SUITE} main",)


def mirror_of(sources: tuple[str, ...]) -> str:
    """The URL of the suite itself among the sources of `debian_sources`."""
    fields = [line.split() for line in sources]
    return next((uri for _, uri, release, _ in fields if release == DEBIAN_SUITE), DEBIAN_MIRROR)


def build_secrets(folder: Path, *, environ: Mapping[str, str] = os.environ) -> dict[str, Path]:
    """Writes this machine's settings to files below `folder`; returns them by the names of the Dockerfiles' secrets."""
    bundle = Path(environ.get("SSL_CERT_FILE") or _CA_BUNDLE)
    contents: dict[str, str] = {
        "build-env": build_environment(environ, pip_settings=_pip_settings(environ), bundle=bundle.is_file())
    }
    if shutil.which("apt-get") and platform.system() == "Linux":
        contents["apt-sources"] = "\n".join(read_sources()) + "\n"
        contents["apt-conf"] = _apt_settings()
    secrets = {name: write_private(folder / name, content) for name, content in contents.items() if content}
    if bundle.is_file():
        secrets["ca-bundle"] = bundle
    return secrets


def read_sources() -> tuple[str, ...]:
    """This machine's sources of Debian's suite; the mirror if none."""
    return debian_sources(_output("apt-get", "indextargets", "Created-By: Packages", "--format", _TARGET_FORMAT))


_TARGET_FORMAT = "$(REPO_URI) $(RELEASE) $(COMPONENT)"


def _apt_settings() -> str:
    """Proxies, time limits and similar settings, and the paths of the sources."""
    unwanted = ("Acquire::IndexTargets", "Acquire::Changelogs")
    settings = [line for line in _output("apt-config", "dump", "Acquire").splitlines() if not line.startswith(unwanted)]
    sources = [f'Dir::Etc::SourceList "{_SECRETS}/apt-sources";', 'Dir::Etc::SourceParts "/dev/null";']
    return "\n".join((*settings, *sources)) + "\n"


def _pip_settings(environ: Mapping[str, str]) -> dict[str, str]:
    named = (Path(environ["PIP_CONFIG_FILE"]),) if environ.get("PIP_CONFIG_FILE") else ()
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read([path.expanduser() for path in (*_PIP_FILES, *named, Path(sys.prefix) / "pip.conf")])
    except (configparser.Error, UnicodeDecodeError):
        return {}
    return dict(parser["global"]) if parser.has_section("global") else {}


def _output(*argv: str) -> str:
    try:
        run = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return run.stdout
