"""The server side of the mesh: the server, the wrapping of handlers, streams, ports, drain."""
