"""The circuit breaker: limits on the calls of one target, so that a slow one cannot take the caller with it.

An attempt layer over the vocabulary. Start reading in `layer`. See mesh/docs/circuit-breaker.md.
"""

from grpcmesh.breaker.layer import Breaker

__all__ = ["Breaker"]
