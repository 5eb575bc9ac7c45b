"""The client's half of the mesh: the channel, the way of one call, connections and the pool of a target."""
