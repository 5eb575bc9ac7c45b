"""Admission: a server that gets more than it can do refuses the rest early, the least important first.

Pure decisions over the vocabulary; a layer of the server's stack asks them. Start reading in `gate`.
`throttle` is the callers' part. See mesh/docs/admission.md.
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
