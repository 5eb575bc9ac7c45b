"""The embedded cluster: what Kubernetes gives the services, given to them on one machine."""
