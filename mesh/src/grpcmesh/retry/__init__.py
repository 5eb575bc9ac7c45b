"""Decides which failed calls are retried, when, and how many in all.

May be imported by `grpcmesh.client`. Start reading in `policy`. See mesh/docs/retry.md.
"""

from grpcmesh.retry.budget import RetryBudget
from grpcmesh.retry.policy import (
    Failure,
    RetryPolicy,
    has_no_side_effects,
    is_idempotent,
    pushback_of,
    settings_of,
)
from grpcmesh.retry.throttle import Throttle

__all__ = [
    "Failure",
    "RetryBudget",
    "RetryPolicy",
    "Throttle",
    "has_no_side_effects",
    "is_idempotent",
    "pushback_of",
    "settings_of",
]
