"""The client side of the mesh: the channel, the path of a call, connections, and the pool of a target."""
