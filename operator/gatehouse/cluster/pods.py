"""Lists the Pods of models."""

from __future__ import annotations

from typing import Final

from gatehouse.cluster.client import ApiClient, ClusterError
from gatehouse.cluster.errors import to_reconcile_error
from gatehouse.domain.serving.running import SELECTORS, PodModel, RunningPods, count_pods, pod_model

__all__ = ["KubernetesPods"]

_PAGE: Final = 100
"""Pods in an answer. A Pod has some 10 kB, and other work waits while an answer is read."""


class KubernetesPods:
    """Implements the port ``PodLister``."""

    def __init__(self, client: ApiClient) -> None:
        self._client = client

    async def running(self) -> tuple[RunningPods, ...]:
        """What the Pods of all InferenceServices and LLMInferenceServices run.

        :raises ReconcileError: the API server does not answer, or refuses.
        """
        found: list[PodModel] = []
        try:
            for selector in SELECTORS:
                async for pod in self._client.items("pods", selector=selector, limit=_PAGE):
                    model = pod_model(pod)
                    if model is not None:
                        found.append(model)
        except ClusterError as error:
            raise to_reconcile_error(error, doing="listing the Pods of models") from error
        return count_pods(found)
