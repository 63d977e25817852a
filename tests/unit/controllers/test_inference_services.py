"""What runs where proves something only behind a gate that was enforced, and only of the digest that runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

import worlds
from gatehouse.controllers.inference_services import ServiceSweep
from gatehouse.controllers.ports import ObjectName
from gatehouse.domain.admission.allowlist import ShardKey, retained_uri, shards
from gatehouse.domain.admission.contest import standing_of
from gatehouse.domain.serving.template import LABEL_GATE, LABEL_STAGE, Served
from gatehouse.domain.version.lifecycle import decide
from gatehouse.domain.version.status import version_status
from policies import approval

Services = Mapping[str, frozenset[Served]]
STAGES = ("", "staging", "production", "qa")
GATES = st.sampled_from([None, "", "Enforce", "Warn", "Off", "warn", "off"])
NAMESPACES = st.dictionaries(st.sampled_from("abc"), st.tuples(st.sampled_from(STAGES), GATES), min_size=1)
SERVED = st.builds(
    Served,
    uri=st.sampled_from([worlds.URI, worlds.URI.rstrip("/"), "s3://models/other/"]),
    digest=st.sampled_from([worlds.DIGEST, worlds.OTHER_DIGEST, ""]),
)
SERVICES = st.dictionaries(st.sampled_from("abc"), st.frozensets(SERVED, max_size=3))
Labels = Mapping[str, tuple[str, str | None]]


class Cluster:
    """Namespaces with a stage and a gate, and what runs in them; its reader knows no versions."""

    def __init__(self, labels: Labels, found: Services) -> None:
        self._labels, self._found = labels, found

    async def services(self) -> Services:
        return self._found

    def get(self, kind: str, namespace: str, name: str) -> dict[str, Any] | None:
        assert (kind, namespace) == ("namespaces", "")
        if name not in self._labels:
            return None
        stage, gate = self._labels[name]
        labels = {LABEL_STAGE: stage} | ({} if gate is None else {LABEL_GATE: gate})
        return {"metadata": {"name": name, "labels": labels}}

    def select(self, kind: str, index: str, value: str) -> list[ObjectName]:
        del kind, index, value
        return []


async def retained(labels: Labels, found: Services, later: Services) -> dict[ShardKey, set[str]]:
    """What may go on after the version was cleared with ``found`` running, and then rejected with ``later`` running."""
    status: Any = {}
    for approvals, running in (((), found), ((approval(decision="Rejected"),), later)):
        cluster = Cluster(labels, running)
        sweep = ServiceSweep(reader=cluster, lister=cluster, enqueue=lambda _: None)  # type: ignore[arg-type]
        await sweep.sweep()
        version = worlds.version(status=status)
        facts = worlds.facts(
            version=version,
            row=worlds.row(),
            approvals=approvals,
            served_in=sweep.served_in(version, digest=worlds.DIGEST),
        )
        status = version_status(facts, decide(facts), registry_id=7, template=None, now=facts.now).wire()
    standing = standing_of(
        {**worlds.version().model_dump(mode="json", by_alias=True, exclude_none=True), "status": status}
    )
    assert standing is not None
    assert standing.phase == "Rejected"
    shown = shards([standing], registries=[worlds.registry()], strict=())
    assert not any(shard.artifacts for shard in shown.values())
    return {key: set(shard.retained) for key, shard in shown.items()}


@given(NAMESPACES, SERVICES, SERVICES)
async def test_only_a_service_that_was_let_in_while_it_was_cleared_goes_on_and_only_in_its_namespace(
    labels: Labels, found: Services, later: Services
) -> None:
    """``retained`` must carry nothing that a gate which only warns let in, nor what came after the rejection."""
    for key, entries in (await retained(labels, found, later)).items():
        for entry in entries:
            namespace = entry.partition(" ")[0]
            stage, gate = labels[namespace]
            assert stage == key.stage
            assert gate not in {"Warn", "Off"}
            assert retained_uri(entry) == worlds.URI
            for running in (found, later):
                served = {each for each in running[namespace] if each.uri.rstrip("/") == worlds.URI.rstrip("/")}
                assert worlds.DIGEST in {each.digest for each in served}


async def test_what_was_let_in_goes_on() -> None:
    """The property is no empty one."""
    running = {name: frozenset({Served(worlds.URI, worlds.DIGEST)}) for name in ("a", "b", "c")}
    labels = {"a": ("staging", None), "b": ("staging", "Warn"), "c": ("staging", "Off")}

    shown = await retained(labels, running, running)
    assert shown[ShardKey("staging", "models")] == {f"a {worlds.URI}"}
    assert not any((await retained(labels, {}, running)).values())
