"""Cluster mode: the Cluster port on Kubernetes, and access from outside of it."""
