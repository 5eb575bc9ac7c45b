"""Every outgoing call has a deadline; a server's remaining time is passed on. See mesh/docs/deadline.md."""

from grpcmesh.deadline.layer import DeadlineLayer

__all__ = ["DeadlineLayer"]
