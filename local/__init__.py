"""The embedded cluster: gives the services on one machine what Kubernetes gives them.

May be imported by `meshmart`, `bench`. Start reading in `supervisor`. See docs/embedded-cluster.md.
"""
