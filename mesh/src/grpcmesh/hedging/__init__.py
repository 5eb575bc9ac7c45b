"""Hedging: a call without an answer is sent to another endpoint as well; the first answer counts (gRFC A6).

Pure: it imports only the vocabulary, and the call machine asks it. May be imported by `grpcmesh.client`.
Start reading in `policy`. See mesh/docs/hedging.md.
"""

from grpcmesh.hedging.latency import LatencyHistogram
from grpcmesh.hedging.policy import Hedging

__all__ = ["Hedging", "LatencyHistogram"]
