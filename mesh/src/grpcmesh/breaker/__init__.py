"""The circuit breaker: limits the calls to one target, so that a slow target cannot exhaust its caller.

It is an attempt layer. May be imported by `grpcmesh.client`. Start reading in `layer`.
See mesh/docs/circuit-breaker.md.
"""

from grpcmesh.breaker.layer import Breaker

__all__ = ["Breaker"]
