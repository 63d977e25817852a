"""``docs/settings.md``, written from the declaration of the settings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from gatehouse.app.server_settings import ServerSettings
from gatehouse.app.settings import ProcessSettings, Settings
from gatehouse.app.settings_declared import CONFIG_VARIABLE, DeclaredSetting, declared_settings

__all__ = ["settings_markdown"]

_HEAD: Final = f"""\
# Settings

<!-- Written by `gatehouse settings --write docs/settings.md`; a test holds it to the code. -->

`gatehouse run`, the operator, and `gatehouse server` take each setting from a flag, from the environment, or from a
YAML file that `--config FILE` or `{CONFIG_VARIABLE}` names. A flag goes before the environment, the environment before
the file, the file before the default.

A name that is no setting is refused with the nearest one that is: a misspelt setting never stays unseen. This holds for
flags, for variables that begin with `GATEHOUSE_`, and for keys of the file. Variables that Kubernetes makes of Services
(`GATEHOUSE_OPERATOR_SERVICE_HOST` and its like) are left alone, and so are variables of the other process. A value of
the wrong kind or out of its range is named with its source and the expected value, all of them at once, and the process
ends with exit code 2:

```
$ GATEHOUSE_WORKERS=many GATEHOUSE_LOGLEVEL=debug gatehouse run --sweep-interval 1s
error: environment variable GATEHOUSE_LOGLEVEL is no setting; did you mean GATEHOUSE_LOG_LEVEL?
error: --sweep-interval is '1s'; expected: a duration from 10s to 24h, as in 90s or 1h30m
error: GATEHOUSE_WORKERS is 'many'; expected: a whole number from 1 to 256
```

`gatehouse settings` takes the same flags and prints what a `gatehouse run` would use, and where each value comes from.

Settings are read once, as a process starts. Connections, stages and intervals of a registry are not here: they are in
its ModelRegistry, and change while the operator runs.

"""

_FILE: Final = """\

### As a file

A ConfigMap mounted into the Pod, for example. A duration is written as in Go, `90s` or `1h30m`, or as a number of
seconds.

```yaml
logLevel: info
namespaces: [team-a, team-b]
workers: 64
probeInterval: 60s
```

```yaml
        args: [run, --config=/etc/gatehouse/config.yaml]
```

### How long a failover takes

The leader renews its Lease every `leaseRetryPeriod`. When it dies, another replica leads at the latest `leaseDuration`
and two and a half `leaseRetryPeriod` later: under 14 s with the defaults. A leader that cannot renew gives up after
`leaseRenewDeadline`, before any other process may lead, so that two never write. A leader that is asked to stop hands
the Lease over at once. Clocks are not compared between replicas; they may be minutes apart.
"""


def settings_markdown() -> str:
    """The whole document."""
    return f"{_HEAD}{_section('The operator', Settings)}{_FILE}\n{_section('The server', ServerSettings)}"


def _section(title: str, process: type[ProcessSettings]) -> str:
    settings = declared_settings(process)
    rows = [("setting", "environment", "key in the file", "default", "what it takes"), *map(_row, settings)]
    details = "".join(f"- `{setting.key}`: {setting.description}\n" for setting in settings)
    return f"## {title}\n\n`{process.command}`\n\n{''.join(_table(rows))}\n{details}"


def _row(setting: DeclaredSetting) -> tuple[str, ...]:
    flag = f"`{setting.flag}`" + (", repeatable" if setting.repeatable else "")
    if setting.switch:
        flag += f", `--no-{setting.flag.removeprefix('--')}`"
    default = f"`{setting.default}`" if setting.default else ""
    return (flag, f"`{setting.variable}`", f"`{setting.key}`", default, setting.wanted)


def _table(rows: Sequence[tuple[str, ...]]) -> Iterable[str]:
    head, *body = rows
    for row in (head, ("---",) * len(head), *body):
        yield f"| {' | '.join(row)} |\n"
