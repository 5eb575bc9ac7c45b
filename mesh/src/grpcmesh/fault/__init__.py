"""Fault injection: delays and aborts calls, controlled while the process runs.

May be imported by `grpcmesh.server`, `local`, `meshmart`, `bench`. Start reading in `rules`. See
mesh/docs/fault.md.
"""

from grpcmesh.fault.layer import FaultLayer
from grpcmesh.fault.rules import Fault, Faults, TooManyFaults
from grpcmesh.fault.servicer import FaultServicer

__all__ = ["Fault", "FaultLayer", "FaultServicer", "Faults", "TooManyFaults"]
