"""Workloads with certificates of a real SPIRE server and agent, run by `make test-spire`.

It needs Go, which builds SPIRE, and root, which gives each workload a group that the agent can tell.
"""
