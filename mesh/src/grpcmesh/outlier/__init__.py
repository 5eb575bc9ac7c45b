"""Outlier detection: an endpoint that answers badly leaves rotation, and is probed before it returns.

After gRFC A50. Pure: imports only the vocabulary; the balancer asks it. Start reading in `detector`.
See mesh/docs/outlier-detection.md.
"""

from grpcmesh.outlier.detector import Change, OutlierDetector
from grpcmesh.outlier.layer import Outliers
from grpcmesh.outlier.record import Record, State

__all__ = ["Change", "OutlierDetector", "Outliers", "Record", "State"]
