"""Kinds that no controller reconciles: other kinds are reconciled again when they change.

Registries and policies select Namespaces by their labels. Versions are decided again after a change of a ModelApproval
or a ModelEvaluation. The operator remembers who withdrew one: the cache loses that record with the deleted object.
InferenceServices are KServe's. Gatehouse reports them and changes only those of deployments. They are absent without
KServe. Routes are those of the Gateway API and of OpenShift. Gatehouse writes those of deployments.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

from gatehouse.api.meta import ANNOTATION_WITHDRAWAL_REASON, ANNOTATION_WITHDRAWN_BY
from gatehouse.api.model_approval import ModelApproval
from gatehouse.api.model_evaluation import ModelEvaluation
from gatehouse.api.wire import WireDecision, WireMetadata
from gatehouse.controllers.declaration import Declaration, Right, resource_of
from gatehouse.controllers.deployed_services import owner_of
from gatehouse.controllers.indexes import (
    BY_DIGEST,
    BY_HOSTNAME,
    BY_NAMESPACE,
    BY_OWNER,
    BY_SERVED,
    BY_VERSION,
    namespace_of,
    version_key,
)
from gatehouse.controllers.inference_services import (
    INFERENCE_SERVICES,
    kept_of_service,
    served_artifacts,
    served_folder,
)
from gatehouse.controllers.routes import HTTP_ROUTES, OPENSHIFT_ROUTES, hosts_of_route, kept_of_route
from gatehouse.domain.version.facts import Withdrawal
from gatehouse.runtime.cache import CacheChange, ChangeType
from gatehouse.runtime.refs import Gvr

__all__ = ["APPROVALS", "EVALUATIONS", "NAMESPACES", "OPTIONAL", "ROUTES", "SERVICES", "Withdrawals"]

REMEMBERED: Final = 4096
"""How many of the newest are kept. A version is reconciled within seconds of the deletion, or after an outage."""


class Withdrawals:
    """The withdrawals since this process leads. Earlier withdrawals are unknown."""

    def __init__(self) -> None:
        self._withdrawals: OrderedDict[str, Withdrawal] = OrderedDict()

    @property
    def by_uid(self) -> Mapping[str, Withdrawal]:
        """The withdrawals, by uid of the deleted object; a view that is kept up to date."""
        return MappingProxyType(self._withdrawals)

    def observe(self, change: CacheChange) -> None:
        """An approval or an evaluation changed: records the withdrawal if the object is deleted or being deleted."""
        metadata: WireMetadata = change.body["metadata"]
        if change.type is not ChangeType.DELETED and not metadata.get("deletionTimestamp"):
            return
        annotations = metadata.get("annotations") or {}
        by = annotations.get(ANNOTATION_WITHDRAWN_BY)
        if not by:
            return
        self._withdrawals[metadata["uid"]] = Withdrawal(by=by, reason=annotations.get(ANNOTATION_WITHDRAWAL_REASON, ""))
        if len(self._withdrawals) > REMEMBERED:
            self._withdrawals.popitem(last=False)


def _version(body: WireDecision) -> Iterable[str]:
    yield version_key(body["metadata"]["namespace"], body["spec"]["versionRef"]["name"])


_INDEXES: Final = {BY_VERSION: _version}

NAMESPACES: Final = Declaration(resource=Gvr("", "v1", "namespaces", namespaced=False))
APPROVALS: Final = Declaration(resource=resource_of(ModelApproval), indexes=_INDEXES)
EVALUATIONS: Final = Declaration(resource=resource_of(ModelEvaluation), indexes=_INDEXES)
SERVICES: Final = Declaration(
    resource=INFERENCE_SERVICES,
    indexes={BY_SERVED: served_folder, BY_DIGEST: served_artifacts, BY_NAMESPACE: namespace_of, BY_OWNER: owner_of},
    optional=True,
    keep=kept_of_service,
)
_WRITES: Final = ("create", "patch", "delete")
ROUTES: Final = (
    Declaration(
        resource=HTTP_ROUTES,
        indexes={BY_HOSTNAME: hosts_of_route},
        optional=True,
        keep=kept_of_route,
        rights=(Right(group=HTTP_ROUTES.group, resource="httproutes", verbs=_WRITES),),
    ),
    Declaration(
        resource=OPENSHIFT_ROUTES,
        indexes={BY_HOSTNAME: hosts_of_route},
        optional=True,
        keep=kept_of_route,
        rights=(
            Right(group=OPENSHIFT_ROUTES.group, resource="routes", verbs=_WRITES),
            # OpenShift asks for this right where a route names its host.
            Right(group=OPENSHIFT_ROUTES.group, resource="routes/custom-host", verbs=("create", "update")),
        ),
    ),
)
OPTIONAL: Final = (SERVICES, *ROUTES)
"""The kinds that may be absent."""
