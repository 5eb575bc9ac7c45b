"""Which workload may call which method, and what a call needs of its user: one policy file."""

from mesh.authz.layer import AuthzLayer
from mesh.authz.policy import Policy, PolicyError, UserRule
from mesh.authz.store import PolicyStore

__all__ = ["AuthzLayer", "Policy", "PolicyError", "PolicyStore", "UserRule"]
