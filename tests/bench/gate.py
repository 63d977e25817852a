"""What the gate adds to creating an InferenceService, with many artifacts vetted."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

from bench.figures import Count, Figure, Result, at_most, percentile
from cluster.gated import DIGEST, STAGE, Gate, accepted, make_gate, send
from gatehouse.domain.admission.allowlist import Shard, ShardKey
from gatehouse.printing.progress import ProgressReporter
from gatehouse_local.binaries import Binaries
from gatehouse_local.controlplane import ADMIN
from gatehouse_local.ephemeral import control_plane
from gatehouse_local.kube import KubeClient

__all__ = ["bench_gate"]

_WARM_UP = 50
_STAGES = (STAGE, "staging")


async def bench_gate(*, artifacts: int, repeats: int, progress: ProgressReporter) -> list[Result]:
    """Creates services in a namespace with a stage and in one without, in turns, ``repeats`` of each.

    Both stages clear ``artifacts``, so that every request is held against twice as many.
    """
    with contextlib.ExitStack() as stack:
        with progress.step("starting the control plane"):
            plane = stack.enter_context(control_plane(Binaries(progress=progress)))
            gate = stack.enter_context(make_gate(plane))
            free = stack.enter_context(gate.another())
            client = stack.enter_context(contextlib.closing(plane.client(ADMIN)))
        with progress.step(f"vetting {artifacts:,} artifacts for each of {len(_STAGES)} stages"):
            uris = [
                f"s3://models/platform-team/granite-3.1-8b-instruct-v{number:05}-FP8-dynamic/"
                for number in range(artifacts)
            ]
            shard = Shard(artifacts=dict.fromkeys(uris, DIGEST))
            gate.keep({ShardKey(stage, "models"): shard for stage in _STAGES})
            for uri in _spread(uris, 20):
                gate.settle(accepts=gate.service(uri=uri))
        with progress.step(f"creating {repeats} services with the gate and {repeats} without"):
            for _ in range(_WARM_UP):
                _create(client, gate, uris[0])
                _create(client, free, uris[0])
            with_gate, without = [], []
            for uri in _spread(uris, repeats):
                without.append(_create(client, free, uri))
                with_gate.append(_create(client, gate, uri))
        refused = sum(not accepted(client, gate.service(uri=f"{uri}evil/")) for uri in _spread(uris, 20))
    added = (percentile(with_gate, 50) - percentile(without, 50)) * 1000
    return [
        Result(
            bench=f"the gate with {artifacts} artifacts",
            figures=(
                Figure("added to creating an InferenceService, p50", added, "ms", at_most(2)),
                Figure("with the gate, p50", percentile(with_gate, 50) * 1000, "ms"),
                Figure("with the gate, p99", percentile(with_gate, 99) * 1000, "ms"),
                Figure("without, p50", percentile(without, 50) * 1000, "ms"),
                Figure("without, p99", percentile(without, 99) * 1000, "ms"),
                Figure("repeats", repeats),
            ),
            counts=(Count.exactly("refused of 20 that are not vetted", refused, 20),),
        )
    ]


def _spread(uris: list[str], count: int) -> Iterator[str]:
    """So many of them, from all over."""
    for number in range(count):
        yield uris[number * 7919 % len(uris)]


def _create(client: KubeClient, gate: Gate, uri: str) -> float:
    """Seconds of one creation; the service is taken away again."""
    body: dict[str, Any] = dict(gate.service(uri=uri))
    path = client.path_of(body)
    started = time.monotonic()
    send(client, body, query="fieldManager=bench")
    elapsed = time.monotonic() - started
    client.request("DELETE", path)
    return elapsed
