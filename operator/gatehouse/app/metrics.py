"""Prometheus collectors of the operator's work outside the runtime."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import get_args

from prometheus_client import CollectorRegistry, Counter, Gauge

from gatehouse.api import KINDS
from gatehouse.api.model_deployment import StepVerdict
from gatehouse.api.model_version import ModelVersion, Phase
from gatehouse.controllers.faults import Faults
from gatehouse.controllers.indexes import BY_STATUS, BY_UNCLEARED, RUNNING
from gatehouse.controllers.running_pods import UnapprovedPods
from gatehouse.runtime.cache import Caches

__all__ = ["OperatorMetrics"]

_MOST_SERVICES = 200


class OperatorMetrics:
    """API requests, row writes, versions by phase, faulty objects and lost Events. The store has its own metrics."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._api = Counter(
            "gatehouse_api_requests", "Requests to the API server.", ["verb", "resource", "code"], registry=registry
        )
        self._rows = Counter("gatehouse_row_writes", "Rows written to registries.", ["table"], registry=registry)
        self._transactions = Counter("gatehouse_row_transactions", "Transactions committed.", registry=registry)
        self._retries = Counter("gatehouse_row_retries", "Rounds tried again.", ["reason"], registry=registry)
        self._reads = Counter("gatehouse_row_reads", "Reads answered by registries.", registry=registry)
        self._dropped = Counter("gatehouse_events_dropped", "Events that could not be posted.", registry=registry)
        self._parsers = Counter(
            "gatehouse_parser_ends", "Times that the process which reads files was ended.", ["why"], registry=registry
        )
        self._verdicts = Counter(
            "gatehouse_step_verdicts",
            "Steps of deployments that ended, by what the step waited for and its verdict.",
            ["step", "verdict"],
            registry=registry,
        )
        self._queries = Counter(
            "gatehouse_analysis_queries", "Queries of analyses, by the kind of answer.", ["answer"], registry=registry
        )
        self._webhooks = Counter(
            "gatehouse_step_webhooks",
            "Questions to webhooks of steps, by status; 0 for no answer.",
            ["code"],
            registry=registry,
        )
        self._running = Gauge(
            "gatehouse_running_uncleared",
            "Versions that run in a stage that they are not cleared for.",
            registry=registry,
        )
        self._unapproved = Gauge(
            "gatehouse_unapproved_pods",
            "Pods that run what is not cleared for the stage of their namespace, by their service.",
            ["namespace", "service"],
            registry=registry,
        )
        self._phases = Gauge("gatehouse_versions", "Versions by phase.", ["phase"], registry=registry)

        self._failing = Gauge(
            "gatehouse_failing_objects",
            "Objects whose last reconcile ended with an unexpected error.",
            ["kind"],
            registry=registry,
        )
        self._unreadable = Gauge(
            "gatehouse_unreadable_objects",
            "Objects that the API server took and that do not read: they count as none.",
            ["kind"],
            registry=registry,
        )

    def api_request(self, verb: str, resource: str, code: int) -> None:
        """The API server answered; 0 for no answer."""
        self._api.labels(verb, resource, str(code)).inc()

    def event_dropped(self) -> None:
        """An Event was lost."""
        self._dropped.inc()

    def parser_ended(self, why: str) -> None:
        """The process that reads files ended, for ``why``: cpu, memory, time, crash, answer."""
        self._parsers.labels(why).inc()

    def step_ended(self, step: str, verdict: StepVerdict) -> None:
        """A step of a deployment has a verdict; ``step`` is analysis or webhook."""
        self._verdicts.labels(step, verdict).inc()

    def query_answered(self, kind: str) -> None:
        """Prometheus answered a query, or did not."""
        self._queries.labels(kind).inc()

    def webhook_answered(self, code: int) -> None:
        """A webhook answered."""
        self._webhooks.labels(str(code)).inc()

    def unapproved_pods(self, found: UnapprovedPods) -> None:
        """The Pods that run what is not cleared. Of very many services the first by name are shown."""
        self._unapproved.clear()
        for (namespace, service), count in sorted(found.items())[:_MOST_SERVICES]:
            self._unapproved.labels(namespace, service).set(count)

    def observe(self, caches: Caches, faults: Faults) -> None:
        """Counts versions by phase, versions that run without clearance, and faulty objects at each scrape."""

        def count(index: str, value: str) -> float:
            return len(caches.select(ModelVersion.info.plural, index, value))

        for phase in get_args(Phase):
            self._phases.labels(phase).set_function(partial(count, BY_STATUS, phase))
        self._running.set_function(partial(count, BY_UNCLEARED, RUNNING))
        for kind in KINDS:
            plural = kind.info.plural
            self._failing.labels(plural).set_function(partial(faults.count_failing, plural))
            self._unreadable.labels(plural).set_function(partial(faults.count_unreadable, plural))

    def committed(self, *, operations: int, rows: Mapping[str, int]) -> None:  # noqa: ARG002 - the registry's signature
        """One transaction was committed."""
        self._transactions.inc()
        for table, count in rows.items():
            self._rows.labels(table).inc(count)

    def queried(self, *, operations: int) -> None:
        """One round of reads answered ``operations`` operations."""
        self._reads.inc(operations)

    def retried(self, *, reason: str) -> None:
        """A round is retried."""
        self._retries.labels(reason).inc()
