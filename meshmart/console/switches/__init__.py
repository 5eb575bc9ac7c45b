"""The switches: what admins can do to the mesh from the console. See docs/console.md.

May be imported by `meshmart.console`. Start reading in `actions`.
"""
