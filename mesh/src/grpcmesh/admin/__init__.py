"""The HTTP port of a process: metrics, its view of the mesh as a page and as JSON. See mesh/docs/admin.md."""

from grpcmesh.admin.server import AdminServer, admin_app

__all__ = ["AdminServer", "admin_app"]
