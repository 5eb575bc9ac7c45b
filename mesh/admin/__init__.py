"""The HTTP port of a process: metrics, its view of the mesh as a page and as JSON. See docs/mesh/admin.md."""

from mesh.admin.http import HttpServer
from mesh.admin.server import AdminServer, admin_app

__all__ = ["AdminServer", "HttpServer", "admin_app"]
