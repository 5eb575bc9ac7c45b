"""Cluster mode: the Cluster port on Kubernetes, and access from outside of it.

May be imported by `meshmart`. Start reading in `cluster`.
"""
