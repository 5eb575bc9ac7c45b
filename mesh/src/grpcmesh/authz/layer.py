"""Enforces the policy's `[[allow]]`. Calls are denied by default, and each denial is counted and logged."""

import logging
from collections.abc import Iterable

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily

from grpcmesh.authz.store import PolicyStore
from grpcmesh.call import Method, Purpose, ServerCall, ServerLayer, Workload
from grpcmesh.errors import PermissionDenied
from grpcmesh.rates import PeerRates

#: The most decisions in the cache. A mesh usually has fewer pairs of workload and method.
_CACHE_SIZE = 4096
#: The most pairs of caller and method with labels of their own in the metric. The rest share `other`.
_MOST_LABELS = 500
_OTHER = ("other", "other")

#: Denials of one caller that are logged: per second, and in a burst. All are counted.
LINES, LINES_BURST = 5.0, 50
#: The most characters of a path in a log line, because the caller chooses the path.
MOST_PATH = 200

_log = logging.getLogger(__name__)


class AuthzLayer(ServerLayer):
    """Refuses calls that the policy does not allow. Decisions are cached by caller and method.

    Args:
        store: Holds the policy in force.
        trust_domain: The trust domain of the policy's short names.
        namespace: The namespace of the policy's short names.
    """

    applies_to = frozenset({Purpose.APPLICATION, Purpose.CONTROL})

    def __init__(self, store: PolicyStore, trust_domain: str, namespace: str) -> None:
        self._store = store
        self._trust_domain, self._namespace = trust_domain, namespace
        self._lines = PeerRates(LINES, LINES_BURST)
        self._generation = -1
        self._decisions: dict[tuple[str, Workload | None], bool] = {}
        # With a 0 from the start: a sum over callers that begins at nothing has no increase.
        self._denials: dict[tuple[str, str], int] = {_OTHER: 0}

    def on_start(self, call: ServerCall) -> None:
        if self._generation != self._store.generation or len(self._decisions) > _CACHE_SIZE:
            self._decisions.clear()
            self._generation = self._store.generation
        key = (
            call.method.path,
            call.workload,
        )  # not the Method: hashing it takes three times as long
        allowed = self._decisions.get(key)
        if allowed is None:
            allowed = self._decisions[key] = self._decide(call.workload, call.method)
        if not allowed:
            self._deny(call)

    def metrics(self) -> Iterable[Metric]:
        denials = CounterMetricFamily(
            "mesh_authz_denials", "Calls that the policy denied.", labels=["caller", "method"]
        )
        for (caller, method), count in self._denials.items():
            denials.add_metric([caller, method], count)
        yield denials

    def _decide(self, caller: Workload | None, method: Method) -> bool:
        if caller is None:
            return False
        return self._store.current.allows(caller, method, self._trust_domain, self._namespace)

    def _deny(self, call: ServerCall) -> None:
        caller = str(call.workload) if call.workload else "none"
        label = (caller, call.method.full_name)
        if label not in self._denials and len(self._denials) > _MOST_LABELS:
            label = _OTHER
        self._denials[label] = self._denials.get(label, 0) + 1
        if self._lines.take(caller):
            _log.warning("denied: %s may not call %s", caller, call.method.full_name[:MOST_PATH])
        raise PermissionDenied(
            f"{caller} may not call {call.method.full_name}",
            "WORKLOAD_NOT_ALLOWED",
            caller=caller,
            method=call.method.full_name,
        )
