"""The circuit breaker: limits the calls to one target, so that a slow target cannot exhaust its caller.

An attempt layer over the vocabulary. Start reading in `layer`. See mesh/docs/circuit-breaker.md.
"""

from grpcmesh.breaker.layer import Breaker

__all__ = ["Breaker"]
