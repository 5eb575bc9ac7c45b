"""Converts faults to messages, for the fault service and for its callers."""

from google.protobuf.duration_pb2 import Duration

from grpcmesh.fault import fault_pb2 as pb
from grpcmesh.fault.rules import Fault


def fault_message(fault: Fault) -> pb.Fault:
    """Return a fault as a message."""
    return pb.Fault(
        method=fault.method,
        share=fault.share,
        delay=duration(fault.delay),
        abort=fault.abort,
        concurrency=fault.concurrency,
    )


def duration(seconds: float) -> Duration:
    """Return seconds as a protobuf Duration."""
    message = Duration()
    message.FromNanoseconds(round(seconds * 1e9))
    return message
