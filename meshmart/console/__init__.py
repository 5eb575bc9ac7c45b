"""The console: a live map of the mesh, read from the replicas' own admin ports. See docs/console.md.

May be imported by nothing. Start reading in `server`.
"""
