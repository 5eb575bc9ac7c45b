"""Every outgoing call has a deadline; a server's remaining time is passed on. See docs/mesh/deadline.md."""

from mesh.deadline.layer import DeadlineLayer

__all__ = ["DeadlineLayer"]
