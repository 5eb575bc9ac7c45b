"""A service mesh without a sidecar, for Python gRPC. A process becomes a member by importing this library.

Import it before gRPC, which reads its environment once (`grpcmesh.grpc_environment`).

The names of `__all__` are the public API, with the modules `grpcmesh.errors`, `grpcmesh.call` and
`grpcmesh.service_config`; mesh/docs/stability.md says what else is stable. They are imported when they are
first used, so that a process loads only what it needs. May be imported by `services`, `local`, `meshmart`,
`bench`, `tools`. Start reading in `mesh`.
"""

import importlib
from typing import TYPE_CHECKING, Any

from grpcmesh import grpc_environment as grpc_environment

if TYPE_CHECKING:
    from grpcmesh.balancer import BalancerPolicy
    from grpcmesh.call import AttemptLayer, ClientLayer, ServerLayer, current_principal, current_workload
    from grpcmesh.config import ConfigError, MeshConfig
    from grpcmesh.identity import Certificates
    from grpcmesh.mesh import Mesh
    from grpcmesh.resolver import Address, Resolver, StaticResolver
    from grpcmesh.runtime import App, run

__version__ = "0.2.0"

__all__ = [
    "Address",
    "App",
    "AttemptLayer",
    "BalancerPolicy",
    "Certificates",
    "ClientLayer",
    "ConfigError",
    "Mesh",
    "MeshConfig",
    "Resolver",
    "ServerLayer",
    "StaticResolver",
    "__version__",
    "current_principal",
    "current_workload",
    "run",
]

#: The module of each public name.
_MODULES = {
    "Address": "resolver",
    "App": "runtime",
    "AttemptLayer": "call",
    "BalancerPolicy": "balancer",
    "Certificates": "identity",
    "ClientLayer": "call",
    "ConfigError": "config",
    "Mesh": "mesh",
    "MeshConfig": "config",
    "Resolver": "resolver",
    "ServerLayer": "call",
    "StaticResolver": "resolver",
    "current_principal": "call",
    "current_workload": "call",
    "run": "runtime",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'grpcmesh' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"grpcmesh.{_MODULES[name]}"), name)
    globals()[name] = value  # the next use does not come here
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
