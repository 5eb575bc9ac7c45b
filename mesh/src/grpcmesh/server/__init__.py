"""The server's half of the mesh: the server, the wrapping of handlers, streams, ports, drain."""
