"""Objects as an API server (1.36) and cert-manager (1.21) tell them, shortened."""

from typing import Any


def pod(
    name: str,
    *,
    service: str = "product",
    created: str = "2026-11-27T20:00:00Z",
    ip: str = "10.244.0.7",
    ready: bool = True,
    deleted: bool = False,
    phase: str = "Running",
    restarts: int = 0,
) -> dict[str, Any]:
    """A pod of the chart's Deployment."""
    metadata: dict[str, Any] = {
        "name": name,
        "namespace": "meshmart",
        "uid": f"uid-of-{name}",
        "creationTimestamp": created,
        "labels": {
            "app.kubernetes.io/name": service,
            "app.kubernetes.io/part-of": "meshmart",
            "app.kubernetes.io/component": "service",
            "pod-template-hash": "6d5f8c9b7c",
        },
    }
    if deleted:
        metadata |= {"deletionTimestamp": "2026-11-27T20:05:00Z", "deletionGracePeriodSeconds": 30}
    status: dict[str, Any] = {
        "phase": phase,
        "conditions": [
            {"type": "PodScheduled", "status": "True"},
            {"type": "Initialized", "status": "True"},
            {"type": "ContainersReady", "status": str(ready)},
            {"type": "Ready", "status": str(ready)},
        ],
        "containerStatuses": [{"name": service, "ready": ready, "restartCount": restarts, "state": {}}],
    }
    if ip:
        status |= {"podIP": ip, "podIPs": [{"ip": ip}]}
    ports = [("grpc", 50051), ("health", 50052), ("admin", 9090)]
    return {
        "metadata": metadata,
        "spec": {
            "nodeName": "node",
            "containers": [
                {
                    "name": service,
                    "ports": [{"name": n, "containerPort": p, "protocol": "TCP"} for n, p in ports],
                }
            ],
        },
        "status": status,
    }


def deployment(name: str = "product", wanted: int = 3, **changes: Any) -> dict[str, Any]:
    """A Deployment that has rolled out; `changes` are of its status."""
    return {
        "metadata": {"name": name, "namespace": "meshmart", "generation": 4},
        "spec": {"replicas": wanted, "template": {"spec": pod("x", service=name)["spec"]}},
        "status": {
            "observedGeneration": 4,
            "replicas": wanted,
            "updatedReplicas": wanted,
            "readyReplicas": wanted,
            "availableReplicas": wanted,
            "conditions": [
                {"type": "Available", "status": "True", "reason": "MinimumReplicasAvailable"},
                {"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable"},
            ],
        }
        | changes,
    }


def certificate(name: str = "product", revision: int = 2, **issuing: str) -> dict[str, Any]:
    """A Certificate that is ready; `issuing` is the condition of that name, if there is one."""
    conditions: list[dict[str, Any]] = [
        {"type": "Ready", "status": "True", "reason": "Ready", "observedGeneration": 1}
    ]
    if issuing:
        conditions.append({"type": "Issuing", **issuing})
    return {
        "metadata": {"name": name, "namespace": "meshmart", "generation": 1, "resourceVersion": "4711"},
        "spec": {"secretName": f"{name}-tls", "dnsNames": [f"{name}.meshmart.svc.cluster.local"]},
        "status": {
            "revision": revision,
            "conditions": conditions,
            "notAfter": "2026-11-28T20:00:00Z",
            "renewalTime": "2026-11-28T12:00:00Z",
        },
    }
