"""Which failed calls are tried again, when, and how many in all. See mesh/docs/retry.md."""

from grpcmesh.retry.budget import RetryBudget
from grpcmesh.retry.policy import Failure, RetryPolicy, is_idempotent, pushback_of

__all__ = ["Failure", "RetryBudget", "RetryPolicy", "is_idempotent", "pushback_of"]
