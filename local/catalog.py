"""The services of the shop: the one place that names them."""

from collections.abc import Mapping
from dataclasses import dataclass, field

MESH_PORT, HEALTH_PORT, ADMIN_PORT = 50051, 50052, 9090
NAMESPACE, CLUSTER_DOMAIN = "meshmart", "cluster.local"
OPERATOR = "client"
"""The workload whose certificate people and programs outside use."""
OUTSIDER = "outsider"
"""A member that the policy lets call nothing: the tour's intruder."""


@dataclass(frozen=True)
class ServiceSpec:
    """A service and how its processes run."""

    name: str
    """The workload's name: in DNS, in certificates, on the command line."""
    module: str
    """Run with `python -m`."""
    subnet: int
    """Third octet of its replicas' loopback addresses: 127.0.SUBNET.REPLICA."""
    replicas: int = 2
    """How many run unless `--replicas` says otherwise."""
    stores: bool = True
    """Has a database: starts after the migrations."""
    first: bool = False
    """The shop's first page needs it: it has the machine to itself until it is ready."""
    web: bool = False
    """Speaks HTTP instead of gRPC; people reach its ready replicas through the forwarder."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Further variables; `{state}` is the state directory."""


Catalog = Mapping[str, ServiceSpec]

SHOP: Catalog = {
    spec.name: spec
    for spec in (
        ServiceSpec("product", "services.product.main", 1, first=True),
        ServiceSpec("order", "services.order.main", 2),
        ServiceSpec("payment", "services.payment.main", 3),
        ServiceSpec(
            "user",
            "services.user.main",
            4,
            first=True,  # product has it verify tokens
            environment={"MESHMART_SIGNING_KEYS_DIR": "{state}/keys"},
        ),
        ServiceSpec("notification", "services.notification.main", 5),
        ServiceSpec("chat", "services.chat.main", 6),
        ServiceSpec("analytics", "services.analytics.main", 7),
        # None runs until it is asked for: `MESHMART_LOAD_RPS=20 meshmart up --replicas loadgen=1`.
        ServiceSpec("loadgen", "services.loadgen.main", 8, replicas=0, stores=False),
        ServiceSpec("storefront", "services.storefront.main", 9, stores=False, first=True, web=True),
    )
}
