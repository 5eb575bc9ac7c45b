"""Delay and abort on purpose, switched while the process runs. See docs/mesh/fault.md."""

from mesh.fault.layer import FaultLayer
from mesh.fault.rules import Fault, Faults, TooManyFaults
from mesh.fault.servicer import FaultServicer

__all__ = ["Fault", "FaultLayer", "FaultServicer", "Faults", "TooManyFaults"]
