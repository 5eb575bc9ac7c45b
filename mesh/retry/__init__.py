"""Which failed calls are tried again, when, and how many in all. See docs/mesh/retry.md."""

from mesh.retry.budget import RetryBudget
from mesh.retry.policy import Failure, RetryPolicy, is_idempotent, pushback_of

__all__ = ["Failure", "RetryBudget", "RetryPolicy", "is_idempotent", "pushback_of"]
