"""The state machines of the client: pure, driven by events, without asyncio, sockets or clocks of their own.

An event is a method; what it returns tells the driver what to do next. The asynchronous driver is
`grpcmesh.client.flight` for calls and attempts, and `grpcmesh.client.pool` for connections and endpoints.
The shape is that of h11: decide here, do the I/O outside. May be imported by `grpcmesh.client`. Start reading
in `call`. See mesh/docs/calls.md.
"""

from grpcmesh.client.machines.attempt import AttemptState, LiveAttempt
from grpcmesh.client.machines.call import CallMachine, CallState, Do, Rules
from grpcmesh.client.machines.connection import ConnectionMachine, ConnectionState
from grpcmesh.client.machines.endpoint import EndpointMachine, EndpointState
from grpcmesh.client.machines.status import Status

__all__ = [
    "AttemptState",
    "CallMachine",
    "CallState",
    "ConnectionMachine",
    "ConnectionState",
    "Do",
    "EndpointMachine",
    "EndpointState",
    "LiveAttempt",
    "Rules",
    "Status",
]
