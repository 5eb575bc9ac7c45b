"""Outlier detection: an endpoint that answers badly leaves rotation, and is probed before it returns.

It implements gRFC A50. Pure: it imports only the vocabulary, and the balancer asks it. May be imported by
`grpcmesh.client`. Start reading in `detector`. See mesh/docs/outlier-detection.md.
"""

from grpcmesh.outlier.detector import Change, OutlierDetector
from grpcmesh.outlier.layer import Outliers
from grpcmesh.outlier.record import Record, State

__all__ = ["Change", "OutlierDetector", "Outliers", "Record", "State"]
