"""Hedging: a call without an answer goes to another endpoint as well; the first answer counts (gRFC A6).

Pure: imports only the vocabulary; the call machine asks it. Start reading in `policy`.
See mesh/docs/hedging.md.
"""

from grpcmesh.hedging.latency import LatencyHistogram
from grpcmesh.hedging.policy import Hedging

__all__ = ["Hedging", "LatencyHistogram"]
