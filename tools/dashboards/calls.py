"""The call graph: who calls whom how often, with what success, and how fast, as callers see it.

Callers count their calls by gRPC service. A recorded series of helm/meshmart/rules/mesh.yaml names the
service that provides it. The console (meshmart/console/edges.py) makes its edges in the same way.
"""

from tools.dashboards.model import (
    ALL,
    BAD,
    HERE,
    HTTP_BAD,
    OURS,
    PAGES,
    RATE,
    UNARY,
    Color,
    Column,
    Query,
    Steps,
    rate,
)

#: An edge fails from this share of failed calls on: `FAILING` of meshmart/console/edges.py.
FAILING = 0.01
#: The colors of an edge: Grafana draws it in the color that its frame names, in hexadecimal.
GOOD_EDGE, BAD_EDGE = "#73BF69", "#F2495C"
SUCCESS: Steps = (Color.RED, (1 - FAILING, Color.ORANGE), (0.999, Color.GREEN))
LATENCY: Steps = (Color.GREEN, (0.25, Color.ORANGE), (1.0, Color.RED))

_PROVIDER = f"on (grpc_service) group_left (target) grpc_service:provider:group{HERE}"


def _by_edge(metric: str, labels: str, keep: str = "") -> str:
    """Return the rate of a client's counter, by caller and target."""
    counted = rate(metric, f"{keep}service, grpc_service", labels)
    return f"sum by ({keep}service, target) ({counted} * {_PROVIDER})"


_RATE = _by_edge("grpc_client_handling_seconds_count", OURS)
_FAILED = _by_edge("grpc_client_handled_total", f"{OURS}, {BAD}")
_SUCCESS = f"1 - ({_FAILED} or 0 * {_RATE}) / ({_RATE} > 0)"
_P99 = f"histogram_quantile(0.99, {_by_edge('grpc_client_handling_seconds_bucket', UNARY, 'le, ')}) >= 0"
#: A target may be a full DNS name, which begins with the service. A caller may use several of one service.
_TO = f'label_replace(rate(mesh_retries_total{{{ALL}}}[{RATE}]), "to", "$1", "target", "([^.]+).*")'
_RETRIED = f'label_replace(sum by (service, to) ({_TO}), "target", "$1", "to", "(.+)")'
_RETRIES = f"(sum by (service, target) ({_RETRIED}) and on (service, target) {_RATE}) or 0 * {_RATE}"


def _edge(expr: str) -> str:
    """Add the labels that an edge needs: its id, and where it begins; it ends at `target`."""
    begins = f'label_replace({expr}, "source", "$1", "service", "(.+)")'
    return f'label_join({begins}, "id", " → ", "service", "target")'


def _node(expr: str) -> str:
    """Add the labels that a node needs: its id and title."""
    named = f'label_replace({expr}, "id", "$1", "service", "(.+)")'
    return f'label_replace({named}, "title", "$1", "service", "(.+)")'


def _colored(expr: str) -> str:
    """Add the edge's color, by its success."""
    bound = round(1 - FAILING, 6)
    bad = f'label_replace({expr} <= {bound}, "color", "{BAD_EDGE}", "", "")'
    return f'label_replace({expr} > {bound}, "color", "{GOOD_EDGE}", "", "") or {bad}'


EDGES = [
    Query(_edge(_RATE), "", "edges_rate"),
    Query(_edge(_colored(_SUCCESS)), "", "edges_success"),
    Query(_edge(_P99), "", "edges_p99"),
    Query(_edge(_RETRIES), "", "edges_retries"),
]
#: From 1 to 5 pixels.
_THICKNESS = Query(_edge(f"1 + 4 * {_RATE} / scalar(max({_RATE}))"), "", "edges_thickness")

_SERVED = (
    f"sum by (service) (rate(grpc_server_handling_seconds_count{{{OURS}}}[{RATE}])"
    f" or rate(http_server_request_duration_seconds_count{{{ALL}}}[{RATE}]))"
)
_SERVED_BADLY = (
    f"sum by (service) (rate(grpc_server_handled_total{{{OURS}, {BAD}}}[{RATE}])"
    f" or rate(http_server_request_duration_seconds_count{{{ALL}, {HTTP_BAD}}}[{RATE}]))"
)
_SERVED_P99 = (
    "histogram_quantile(0.99, sum by (le, service) ("
    f"rate(grpc_server_handling_seconds_bucket{{{UNARY}}}[{RATE}])"
    f" or rate(http_server_request_duration_seconds_bucket{{{PAGES}}}[{RATE}]))) >= 0"
)
#: Every service that is scraped, and both ends of every edge: an edge to an unknown node breaks the graph.
_KNOWN = (
    f"(group by (service) (up{{{ALL}}}) or group by (service) ({_RATE})"
    f' or group by (service) (label_replace(sum by (target) ({_RATE}), "service", "$1", "target", "(.+)")))'
)
_SHARE_FAILED = f"({_SERVED_BADLY} / ({_SERVED} > 0) or 0 * {_KNOWN})"

NODES = [
    Query(_node(f"({_SERVED} or 0 * {_KNOWN})"), "", "nodes_rate"),
    Query(_node(f"{_SERVED_P99}"), "", "nodes_p99"),
    Query(_node(f"1 - {_SHARE_FAILED}"), "", "nodes_ok"),
    Query(_node(_SHARE_FAILED), "", "nodes_failed"),
    Query(_node(f"sum by (service) (mesh_serving{{{ALL}}})"), "", "nodes_ready"),
    Query(_node(f"count by (service) (up{{{ALL}}})"), "", "nodes_replicas"),
]
GRAPH = [*NODES, *EDGES, _THICKNESS]
#: The fields of the graph's nodes and edges.
FIELDS = [
    Column("nodes_rate", "mainstat", "reqps"),
    Column("nodes_p99", "secondarystat", "s"),
    Column("nodes_ok", "arc__ok", "percentunit"),
    Column("nodes_failed", "arc__failed", "percentunit"),
    Column("nodes_ready", "detail__ready"),
    Column("nodes_replicas", "detail__replicas"),
    Column("edges_rate", "mainstat", "reqps"),
    Column("edges_success", "secondarystat", "percentunit"),
    Column("edges_p99", "detail__p99", "s"),
    Column("edges_retries", "detail__retries", "reqps"),
    Column("edges_thickness", "thickness"),
]
#: The columns of the table of edges.
COLUMNS = [
    Column("edges_rate", "Calls", "reqps"),
    Column("edges_success", "Success", "percentunit", SUCCESS),
    Column("edges_p99", "p99", "s", LATENCY),
    Column("edges_retries", "Retries", "reqps", (Color.GREEN, (0.001, Color.ORANGE))),
]
