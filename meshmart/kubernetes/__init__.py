"""Cluster mode: the Cluster port on Kubernetes, and the way in from outside."""
