"""The admin port of a process: its metrics, and its state as a page and as JSON. See mesh/docs/admin.md.

May be imported by `grpcmesh.member`, `meshmart`. Start reading in `server`.
"""

from grpcmesh.admin.server import AdminServer, admin_app

__all__ = ["AdminServer", "admin_app"]
