"""The storefront: the shop's pages for a browser. It calls the services as any client of the mesh does.

May be imported by nothing. Start reading in `app`.
"""
