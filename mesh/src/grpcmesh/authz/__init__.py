"""Authorization by a policy file: which workload may call which method, and what its user needs.

May be imported by `grpcmesh.server`, `grpcmesh.server_side`, `grpcmesh.runtime`, `grpcmesh.commands`,
`meshmart.doctor`. Start reading in `policy`. See mesh/docs/authz.md.
"""

from grpcmesh.authz.layer import AuthzLayer
from grpcmesh.authz.policy import Policy, PolicyError, UserRule
from grpcmesh.authz.store import PolicyStore

__all__ = ["AuthzLayer", "Policy", "PolicyError", "PolicyStore", "UserRule"]
