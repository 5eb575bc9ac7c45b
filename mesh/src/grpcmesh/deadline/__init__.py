"""Gives each outgoing call a deadline, bounded by that of the served call.

May be imported by `grpcmesh.client`. Start reading in `layer`. See mesh/docs/deadline.md.
"""

from grpcmesh.deadline.layer import DeadlineLayer

__all__ = ["DeadlineLayer"]
