"""The services of the shop: the only place that lists them."""

from collections.abc import Mapping
from dataclasses import dataclass, field

MESH_PORT, HEALTH_PORT, ADMIN_PORT = 50051, 50052, 9090
NAMESPACE, CLUSTER_DOMAIN = "meshmart", "cluster.local"
OPERATOR = "client"
"""The workload whose certificate people and external programs use."""
OUTSIDER = "outsider"
"""A member of the mesh that the policy lets call nothing: the tour's intruder."""


@dataclass(frozen=True)
class ServiceSpec:
    """A service and how its processes run."""

    name: str
    """The workload's name: in DNS, in certificates, on the command line."""
    module: str
    """The module that `python -m` runs."""
    subnet: int
    """The third octet of its replicas' loopback addresses: 127.0.SUBNET.REPLICA."""
    replicas: int = 2
    """The number of replicas unless `--replicas` says otherwise."""
    stores: bool = True
    """Whether it has a database, and so starts after the migrations."""
    first: bool = False
    """Whether the shop's first page needs it. Such services start before the others, until they are ready."""
    web: bool = False
    """Whether it speaks HTTP instead of gRPC. The forwarder leads to its ready replicas."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Further environment variables; `{state}` is replaced by the state directory."""


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
            first=True,  # product fetches its keys to verify tokens
            environment={"MESHMART_SIGNING_KEYS_DIR": "{state}/keys"},
        ),
        ServiceSpec("notification", "services.notification.main", 5),
        ServiceSpec("chat", "services.chat.main", 6),
        ServiceSpec("analytics", "services.analytics.main", 7),
        # No replica by default: `MESHMART_LOAD_RPS=20 meshmart up --replicas loadgen=1` starts one.
        ServiceSpec("loadgen", "services.loadgen.main", 8, replicas=0, stores=False),
        ServiceSpec("storefront", "services.storefront.main", 9, stores=False, first=True, web=True),
    )
}
