"""Which workload may call which method, and what a call needs of its user: one policy file."""

from grpcmesh.authz.layer import AuthzLayer
from grpcmesh.authz.policy import Policy, PolicyError, UserRule
from grpcmesh.authz.store import PolicyStore

__all__ = ["AuthzLayer", "Policy", "PolicyError", "PolicyStore", "UserRule"]
