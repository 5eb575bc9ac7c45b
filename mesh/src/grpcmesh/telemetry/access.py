"""The access log: one line for each served call, built by hand because json.dumps would triple its cost."""

from collections.abc import Iterable
from json.encoder import encode_basestring_ascii as quote

import grpc
from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily

from grpcmesh.call import Purpose, ServerCall, ServerLayer, Workload
from grpcmesh.errors import MeshError
from grpcmesh.rates import PeerRates
from grpcmesh.telemetry.logs import Logger

_OK = grpc.StatusCode.OK

#: Codes that mean that this server, not its caller, is at fault.
_ERRORS = frozenset({"UNKNOWN", "INTERNAL", "DATA_LOSS"})
#: Codes with which a health watch ends when either side leaves. They are not logged.
_USUAL = frozenset({"OK", "CANCELLED", "UNAVAILABLE"})

#: Codes of calls that cost their caller little, so that it could fill the disk with log lines. For each code,
#: the lines per second and in a burst are limited. All calls are counted in the metrics.
_REFUSED = frozenset(
    {"UNIMPLEMENTED", "PERMISSION_DENIED", "UNAUTHENTICATED", "RESOURCE_EXHAUSTED", "CANCELLED"}
)
REFUSED_LINES, REFUSED_BURST = 20.0, 200

#: The most characters of a path in a line, because the caller chooses the path.
MAX_PATH = 200
#: The most characters of a reason: enough for a person, too few for a payload.
MAX_REASON = 200


class AccessLog(ServerLayer):
    """Logs the method, code, duration, caller and user of each call, and why it failed. Never payloads.

    Args:
        log: The logger.
        mode: `all`, `errors` (codes other than OK) or `off`. Calls of the mesh's own services (health,
            reflection) are logged only if they end with an unusual code.
        trust_domain: Callers of this trust domain and namespace are logged by their short names.
        namespace: See `trust_domain`.
    """

    observes = True

    def __init__(self, log: Logger, mode: str, trust_domain: str, namespace: str) -> None:
        self._log, self._mode = log, mode
        self._trust_domain, self._namespace = trust_domain, namespace
        self._info, self._error = log.head("INFO", "call"), log.head("ERROR", "call")
        self._lines = PeerRates(REFUSED_LINES, REFUSED_BURST)
        #: Number of lines of refused calls that were left out.
        self.unwritten = 0

    def metrics(self) -> Iterable[Metric]:
        text = "Refused calls without a line in the access log, because there were too many."
        yield CounterMetricFamily("mesh_access_log_left_out", text, value=self.unwritten)

    def on_end(self, call: ServerCall) -> None:
        ok = call.code is _OK
        if self._mode == "off" or (ok and self._mode == "errors"):
            return
        name = "OK" if ok else call.code.name
        if name in _USUAL and call.purpose is Purpose.MESH:
            return
        if name in _REFUSED and not self._lines.take(name):
            self.unwritten += 1
            return
        self._log.raw(self._line(call, name))

    def _line(self, call: ServerCall, code: str) -> str:
        head = self._error if code in _ERRORS else self._info
        trace, workload, principal = call.trace, call.workload, call.principal
        ids = f',"trace_id":"{trace.trace_id}","span_id":"{trace.span_id}"' if trace is not None else ""
        caller = f',"caller":{quote(self._name(workload))}' if workload is not None else ""
        user = f',"user":{principal.user_id}' if principal is not None else ""
        reason = "" if code == "OK" else f',"reason":{quote(_reason(call))}'
        return (
            f'{{"ts":"{self._log.stamp()}{head}{ids},"method":{quote(call.method.path[1:MAX_PATH])}'
            f',"code":"{code}","duration_ms":{(call.ended - call.started) * 1000:.3f}{caller}{user}{reason}}}'
        )

    def _name(self, workload: Workload) -> str:
        return workload.seen_from(self._trust_domain, self._namespace)


def _reason(call: ServerCall) -> str:
    """Return the message that the caller got. For an unexpected error return only its type.

    The text of an unexpected error may hold anything, also secrets.
    """
    error = call.error
    if isinstance(error, MeshError):
        return error.message[:MAX_REASON]
    return type(error).__name__ if error is not None else ""
