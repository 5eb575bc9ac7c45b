"""Admission: an overloaded server refuses calls early, the least important first.

The decisions are pure; a layer of the server's stack applies them. `throttle` is the part for callers. May be
imported by `grpcmesh.client`, `grpcmesh.server`. Start reading in `gate`. See mesh/docs/admission.md.
"""

from grpcmesh.admission.gate import Gate, Refusal
from grpcmesh.admission.layer import AdmissionLayer
from grpcmesh.admission.limit import ConcurrencyLimit
from grpcmesh.admission.priority import Priority
from grpcmesh.admission.queue import QueueAdmission
from grpcmesh.admission.throttle import CallerThrottle

__all__ = [
    "AdmissionLayer",
    "CallerThrottle",
    "ConcurrencyLimit",
    "Gate",
    "Priority",
    "QueueAdmission",
    "Refusal",
]
